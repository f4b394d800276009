"""Makes looks at people for the tests of `maskbatch.people`: streams of a few seconds, told as (seconds, p_mask)."""

from dataclasses import fields

import numpy as np

from maskbatch.people.looks import Looks


def stream(*parts, fps=6.0, start_s=0.0, person=0, noise=0.0, seed=0, **more):
    """Looks at one person. `parts` are (seconds, p_mask), one after the other; p_mask None: not seen.

    `more` sets other fields for all looks: `size` (pixels), `sharpness`, `brightness`, `turn`, `p_incorrect`, `source_id`.
    """
    ends = np.cumsum([seconds for seconds, _ in parts])
    time_s = np.arange(round(ends[-1] * fps)) / fps
    part = np.searchsorted(ends, time_s + 1e-9, side="right")
    p_of = np.array([np.inf if p is None else p for _, p in parts], np.float64)[part]
    seen = ~np.isposinf(p_of)
    p_mask = p_of[seen] + noise * np.random.default_rng(seed).standard_normal(seen.sum())
    return looks(time_s[seen] + start_s, p_mask.clip(0, 1), person=person, **more)


def looks(time_s, p_mask, person=0, size=40.0, xyxy=None, source_id=1, **more):
    """Looks at one person at the times and with the probabilities given, well seen unless `more` says otherwise."""
    n = len(time_s)
    values = {"sharpness": 1.0, "brightness": 120.0, "turn": 0.0, "p_incorrect": np.nan} | more
    if xyxy is None:
        xyxy = np.tile([100.0, 100.0, 100.0 + size, 100.0 + size], (n, 1))
    return Looks(
        source_id=np.full(n, source_id), person=np.full(n, person), frame=np.arange(n), face=np.zeros(n, np.int64),
        time_s=np.asarray(time_s, np.float64), xyxy=np.asarray(xyxy, np.float64),
        p_mask=np.asarray(p_mask, np.float64), **{name: np.full(n, value, np.float64) for name, value in values.items()},
    )  # fmt: skip


def joined(*several):
    """The looks of several people after each other."""
    return Looks(*(np.concatenate([getattr(one, item.name) for one in several]) for item in fields(Looks)))
