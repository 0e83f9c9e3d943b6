"""Figures of how good a result is: samples, rankings, predicted images, and masks."""

from sk_autoenc.metrics.images import psnr_score, ssim_score
from sk_autoenc.metrics.masks import SegmentationReport, mean_iou_score, segmentation_report
from sk_autoenc.metrics.rankings import FoldIn, fold_in_split, ndcg_at_k, recall_at_k
from sk_autoenc.metrics.samples import (
    ClassifierTest,
    ParzenScore,
    SampleQuality,
    TwoSampleTest,
    classifier_two_sample_test,
    energy_distance,
    frechet_distance,
    maximum_mean_discrepancy,
    neighbor_distance_ratio,
    parzen_log_likelihood,
    precision_recall_density_coverage,
    sample_scorer,
)

__all__ = [
    "ClassifierTest",
    "FoldIn",
    "ParzenScore",
    "SampleQuality",
    "SegmentationReport",
    "TwoSampleTest",
    "classifier_two_sample_test",
    "energy_distance",
    "fold_in_split",
    "frechet_distance",
    "maximum_mean_discrepancy",
    "mean_iou_score",
    "ndcg_at_k",
    "neighbor_distance_ratio",
    "parzen_log_likelihood",
    "precision_recall_density_coverage",
    "psnr_score",
    "recall_at_k",
    "sample_scorer",
    "segmentation_report",
    "ssim_score",
]
