"""Geometry of boxes and pictures as arrays: overlap, squares, scaling."""
