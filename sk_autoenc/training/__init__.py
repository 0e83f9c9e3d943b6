"""Training on skorch: plans, nets, selection, callbacks; knows no estimator."""
