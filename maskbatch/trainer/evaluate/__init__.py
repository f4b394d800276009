"""Measure models on labelled pictures: `measure.evaluate_dataset` measures the classifier and the whole chain."""
