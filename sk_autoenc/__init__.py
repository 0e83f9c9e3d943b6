"""Autoencoders and generative networks as scikit-learn estimators."""

from sk_autoenc.architectures import MLP
from sk_autoenc.estimators.autoencoder import AutoencoderTransformer
from sk_autoenc.likelihoods import Bernoulli, Gaussian, Multinomial, Poisson
from sk_autoenc.persistence import load, save

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "AutoencoderTransformer",
    "Bernoulli",
    "Gaussian",
    "Multinomial",
    "Poisson",
    "load",
    "save",
]
