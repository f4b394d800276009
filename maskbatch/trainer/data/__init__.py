"""Data sets: labelled pictures as crops and scenes."""
