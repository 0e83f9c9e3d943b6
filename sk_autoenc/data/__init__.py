"""From the user's data to tensors, and back: validation, scaling, series, tokens, batches."""
