"""Figures of models on labelled pictures."""
