"""Weights and their cards; installed as package data. `maskbatch.weights` is the way in."""
