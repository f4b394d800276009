"""Training of the mask classifier: `train.train` runs a recipe of `recipes`, calibrates the result and writes its card."""
