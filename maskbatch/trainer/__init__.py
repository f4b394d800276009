"""Train and evaluate the networks: datasets in; weights, figures, plots and cards out.

`model` defines the classifier. `classifier.train`, `detector.train` and `evaluate.measure` are the commands as
functions; `epochs` is the training loop, `checks` has their checks at the start. A scan imports only `model`.
"""
