"""Datasets: `dataset` reads labelled pictures, `reading` their pixels; `samples` are cut faces, `scenes` whole pictures."""
