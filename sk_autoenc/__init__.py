"""Autoencoders and generative networks as scikit-learn estimators."""

from sk_autoenc.architectures import MLP, Convolutional, Recurrent
from sk_autoenc.data.streamed import Streamed
from sk_autoenc.data.vocabulary import Vocabulary
from sk_autoenc.estimators.aae import AAETransformer
from sk_autoenc.estimators.aae_classifier import AAEClassifier
from sk_autoenc.estimators.autoencoder import AutoencoderTransformer
from sk_autoenc.estimators.class_sampler import ClassSampler
from sk_autoenc.estimators.conditional_gan import ConditionalGANSampler
from sk_autoenc.estimators.cycle_gan import CycleGANTransformer
from sk_autoenc.estimators.encoder_decoder import EncoderDecoderRegressor
from sk_autoenc.estimators.gan import GANSampler
from sk_autoenc.estimators.imputer import AutoencoderImputer
from sk_autoenc.estimators.outlier_detector import ReconstructionOutlierDetector
from sk_autoenc.estimators.pretrained import PretrainedClassifier, PretrainedRegressor
from sk_autoenc.estimators.recommender import AutoencoderRecommender
from sk_autoenc.estimators.segnet import SegNetSegmenter
from sk_autoenc.estimators.tabular_sampler import TabularSampler
from sk_autoenc.estimators.translator import SequenceTranslator
from sk_autoenc.estimators.vae import VAETransformer
from sk_autoenc.estimators.vae_classifier import VAEClassifier
from sk_autoenc.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    Multinomial,
    NegativeBinomial,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from sk_autoenc.persistence import load, save
from sk_autoenc.priors import GaussianMixturePrior, NormalPrior, SwissRollPrior, UniformPrior
from sk_autoenc.training.parallel import data_parallel

__version__ = "0.2.0"

__all__ = [
    "MLP",
    "AAEClassifier",
    "AAETransformer",
    "AutoencoderImputer",
    "AutoencoderRecommender",
    "AutoencoderTransformer",
    "Bernoulli",
    "Categorical",
    "ClassSampler",
    "ConditionalGANSampler",
    "Convolutional",
    "CycleGANTransformer",
    "EncoderDecoderRegressor",
    "GANSampler",
    "Gaussian",
    "GaussianMixturePrior",
    "Multinomial",
    "NegativeBinomial",
    "NormalPrior",
    "Poisson",
    "PretrainedClassifier",
    "PretrainedRegressor",
    "ReconstructionOutlierDetector",
    "Recurrent",
    "SegNetSegmenter",
    "SequenceTranslator",
    "Streamed",
    "StudentT",
    "SwissRollPrior",
    "TabularSampler",
    "UniformPrior",
    "VAEClassifier",
    "VAETransformer",
    "Vocabulary",
    "ZeroInflatedNegativeBinomial",
    "data_parallel",
    "load",
    "save",
]
