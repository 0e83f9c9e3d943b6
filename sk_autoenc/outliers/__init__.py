"""Outlier detectors: ensembles that reconstruct rows, and measures of outlyingness."""
