"""Train the mask classifier: `train.train` runs a recipe of `recipes`, calibrates the model and writes its card."""
