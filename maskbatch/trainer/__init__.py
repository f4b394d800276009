"""Training and evaluation of the networks: datasets in; weights, figures, plots and cards out.

`model` defines the classifier. `classifier.train`, `detector.train` and `evaluate.measure` are the commands as functions;
`epochs` is their loop, `checks` what they check before they begin. Only `model` is imported by a scan.
"""
