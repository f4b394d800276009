"""Training the face detector."""
