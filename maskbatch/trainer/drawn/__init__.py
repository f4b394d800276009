"""Masks and covers drawn onto bare faces."""
