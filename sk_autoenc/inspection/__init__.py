"""Displays: pictures of a fitted estimator. Classes hold numbers, ``plot`` draws them; matplotlib is imported there."""

from sk_autoenc.inspection.latent import LatentDisplay
from sk_autoenc.inspection.loss_curve import LossCurveDisplay
from sk_autoenc.inspection.reconstruction import ReconstructionDisplay

__all__ = ["LatentDisplay", "LossCurveDisplay", "ReconstructionDisplay"]
