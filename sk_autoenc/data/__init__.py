"""What the user has, as tensors, and back: validation, scaling, series, tokens, batches."""
