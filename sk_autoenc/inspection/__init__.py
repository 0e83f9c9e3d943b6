"""Displays of a fitted estimator. A display stores numbers; its ``plot`` draws them and imports matplotlib."""

from sk_autoenc.inspection.attention import AttentionDisplay
from sk_autoenc.inspection.divergence import ComponentKLDisplay
from sk_autoenc.inspection.explanation import OutlierExplanationDisplay
from sk_autoenc.inspection.latent import LatentDisplay
from sk_autoenc.inspection.loss_curve import LossCurveDisplay
from sk_autoenc.inspection.reconstruction import ReconstructionDisplay
from sk_autoenc.inspection.samples import SampleGridDisplay
from sk_autoenc.inspection.segmentation import SegmentationDisplay
from sk_autoenc.inspection.tables import SyntheticTableDisplay
from sk_autoenc.inspection.traversal import LatentTraversalDisplay

__all__ = [
    "AttentionDisplay",
    "ComponentKLDisplay",
    "LatentDisplay",
    "LatentTraversalDisplay",
    "LossCurveDisplay",
    "OutlierExplanationDisplay",
    "ReconstructionDisplay",
    "SampleGridDisplay",
    "SegmentationDisplay",
    "SyntheticTableDisplay",
]
