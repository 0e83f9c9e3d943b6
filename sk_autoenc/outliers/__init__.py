"""Outlier detectors: ensembles that reconstruct rows, and measures of how unusual a row is."""
