"""Weights and their cards; installed as package data. `maskbatch.networks.weights` is the way in."""
