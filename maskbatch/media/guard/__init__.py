"""Limits around decoders: time, and processes of their own for suspects."""
