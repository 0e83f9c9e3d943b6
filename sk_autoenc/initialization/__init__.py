"""Where training starts: random weights, or a linear model that may be kept."""
