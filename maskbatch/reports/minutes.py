"""Split episodes at the full minutes of the clock, so that each piece belongs to one minute, hour and shift."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from maskbatch.people.episodes import Episodes

MINUTE_S = 60.0
# an episode that ends with a minute has no piece in the next one
_NOTHING_S = 1e-9


class Pieces(NamedTuple):
    """N pieces of episodes.

    `episode` (N,) int64 is the position of the episode. `minute` (N,) int64 counts from the full minute at or before
    the source's start. `from_s` and `seconds` (N,) float64 are the begin in seconds of the source, and the duration.
    """

    episode: np.ndarray
    minute: np.ndarray
    from_s: np.ndarray
    seconds: np.ndarray


def split_at_minutes(found: Episodes, starts: Sequence[datetime | None]) -> Pieces:
    """Split E episodes at full minutes.

    Args:
        found: the episodes.
        starts: for each episode, the clock time at which its source starts; None counts as a full minute.

    Returns:
        The pieces, by episode and time. An episode without duration has one piece.
    """
    ahead_s = np.array([0.0 if one is None else one.second + one.microsecond / 1e6 for one in starts])
    begin, end = np.minimum(found.from_s, found.to_s) + ahead_s, found.to_s + ahead_s
    first = np.floor(begin / MINUTE_S).astype(int)
    last = np.floor(np.maximum(end - _NOTHING_S, begin) / MINUTE_S).astype(int)
    repeats = last - first + 1
    episode = np.repeat(np.arange(len(found)), repeats)
    minute = first[episode] + np.arange(len(episode)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    from_s = np.maximum(begin[episode], minute * MINUTE_S)
    seconds = np.maximum(np.minimum(end[episode], (minute + 1) * MINUTE_S) - from_s, 0.0)
    return Pieces(episode, minute, from_s - ahead_s[episode], seconds)
