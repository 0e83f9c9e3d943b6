"""What the decoder's output says about the rows: gaussian, student_t, bernoulli, categorical, poisson, multinomial."""

from sklearn.base import clone

from sk_autoenc.likelihoods.base import Likelihood, present
from sk_autoenc.likelihoods.categorical import Categorical, Tokens
from sk_autoenc.likelihoods.discrete import Bernoulli, Multinomial, Poisson
from sk_autoenc.likelihoods.real import Gaussian, StudentT

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Likelihood",
    "Multinomial",
    "Poisson",
    "StudentT",
    "Tokens",
    "as_likelihood",
    "present",
]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "poisson": Poisson,
    "multinomial": Multinomial,
}


def as_likelihood(likelihood: str | Likelihood) -> Likelihood:
    """The likelihood object; a name is short for its default."""
    return LIKELIHOODS[likelihood]() if isinstance(likelihood, str) else clone(likelihood)
