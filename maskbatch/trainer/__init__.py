"""The shared trainer: the classifier's definition, its datasets, its training and its evaluation."""
