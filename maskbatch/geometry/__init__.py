"""Boxes and pictures as arrays: overlap, squares, scaling."""
