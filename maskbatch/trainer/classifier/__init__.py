"""Training the mask classifier."""
