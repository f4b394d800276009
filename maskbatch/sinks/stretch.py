"""Stretches of a video that its annotated copy takes from the recording, because nothing is drawn into them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from maskbatch.media.write import MOST_REORDERED, following
from maskbatch.types import Recorded, Source, Stored, WriterState


class Shown(NamedTuple):
    """A frame of an annotated copy: its time, its packet, whether faces are in it, and the function that draws it."""

    time_s: float
    stored: Stored | None
    has_faces: bool
    draw: Callable[[], np.ndarray]


class Stretch:
    """A stretch in the making, from its first frame on.

    A frame belongs to `recorded` only when copying may end behind it. Frames without that are `held`, and must be
    encoded if the stretch ends before.
    """

    def __init__(self, source: Source, writer: WriterState, before: Recorded | None = None) -> None:
        """Begin after the state `writer`. `before` is the stretch that ended with the frame before, and now goes on."""
        self.writer, self.recorded = writer, before
        self.held: list[Shown] = []
        self._source, self._ahead = source, writer

    def takes(self, frame: Shown) -> bool:
        """Take the next frame, or return False: the stretch has ended."""
        stored = frame.stored
        if stored is not None and stored.is_exit:
            self.confirm()
        if stored is None or frame.has_faces or len(self.held) == MOST_REORDERED:
            return False
        ahead = following(self._ahead, frame.time_s, self._source)
        if self._first is None and not stored.is_entry:
            return False
        first_pts, first_tick = self._first or (stored.pts, ahead.last_pts)
        if ahead.last_pts - first_tick != stored.pts - first_pts:  # the clock of the recording was corrected
            return False
        self._ahead = ahead
        self.held.append(frame)
        return True

    def confirm(self) -> None:
        """Add the held frames to `recorded`: no frame before the next one needs a later packet."""
        if self.held:
            first_pts, first_tick = self._first
            num_before, delay = (0, 0) if self.recorded is None else self.recorded[-2:]
            last_pts = self.held[-1].stored.pts
            delay = max(delay, last_pts - self.held[0].stored.pts)
            self.recorded = Recorded(first_pts, last_pts, first_tick, num_before + len(self.held), delay)
            self.writer, self.held = self._ahead, []

    @property
    def _first(self) -> tuple[int, int] | None:
        """Time stamp and tick of the first frame, None before it."""
        if self.recorded is not None:
            return self.recorded.first_pts, self.recorded.first_tick
        if not self.held:
            return None
        return self.held[0].stored.pts, following(self.writer, self.held[0].time_s, self._source).last_pts


def may_begin(frame: Shown) -> bool:
    """Return whether a stretch may begin with a frame."""
    return frame.stored is not None and frame.stored.is_entry and not frame.has_faces
