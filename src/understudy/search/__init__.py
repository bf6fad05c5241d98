"""Search over settings on the validation split, with a baseline that is tuned in as many trials."""
