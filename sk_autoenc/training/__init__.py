"""Training on skorch: plans, nets, selection, callbacks. It imports no estimator."""
