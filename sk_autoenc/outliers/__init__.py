"""Outlier detectors: ensembles that reconstruct rows, and scores that say how unusual these are."""
