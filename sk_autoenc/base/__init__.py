"""The public methods that estimators share, and the flow from parameters to a trained model."""
