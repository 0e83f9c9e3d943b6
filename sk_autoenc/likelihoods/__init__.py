"""Likelihoods of rows given the decoder's output: gaussian, student_t, bernoulli, categorical, poisson, multinomial."""

from sklearn.base import clone

from sk_autoenc.likelihoods.base import Likelihood
from sk_autoenc.likelihoods.categorical import Categorical, Tokens
from sk_autoenc.likelihoods.counts import NegativeBinomial, ZeroInflatedNegativeBinomial
from sk_autoenc.likelihoods.discrete import Bernoulli, Multinomial, Poisson
from sk_autoenc.likelihoods.real import Gaussian, StudentT

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Likelihood",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
    "Tokens",
    "ZeroInflatedNegativeBinomial",
    "as_likelihood",
    "likelihood_class",
]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "poisson": Poisson,
    "multinomial": Multinomial,
    "negative_binomial": NegativeBinomial,
    "zero_inflated": ZeroInflatedNegativeBinomial,
}


def as_likelihood(likelihood: str | Likelihood) -> Likelihood:
    """The likelihood object; a name is short for its default."""
    return LIKELIHOODS[likelihood]() if isinstance(likelihood, str) else clone(likelihood)


def likelihood_class(likelihood: str | Likelihood) -> type[Likelihood]:
    """The class of a likelihood that is given by name or as an object, for attributes that all its objects share."""
    return LIKELIHOODS.get(likelihood, Gaussian) if isinstance(likelihood, str) else type(likelihood)
