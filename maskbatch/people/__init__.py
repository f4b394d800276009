"""Derive persons, their episodes, times and places from stored rows alone."""
