"""The review: reviewers look at the evidence in a browser, and their verdicts correct the answer."""

from maskbatch.review.items import Item, items_of
from maskbatch.review.sampling import draw_sample

__all__ = ["Item", "draw_sample", "items_of"]
