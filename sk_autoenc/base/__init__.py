"""The public methods that estimators share, and ``fit``."""
