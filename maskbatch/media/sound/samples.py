"""Decoded sound as continuous samples without gaps."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

# samples that AAC encodes at once
NUM_IN_FRAME = 1024
# many containers round time stamps to 1 ms; sound that is off by more than this is moved to its time
_SLACK_S = Fraction(1, 25)
# in seconds; only the ends of a longer pause are written
_LONG_PAUSE_S = 10
# samples of silence kept at each end, so that the encoded sound on either side does not depend on the pause
_NUM_AT_END = 4 * NUM_IN_FRAME


class Samples:
    """A converter of decoded frames of any format to frames of 1024 samples ("fltp", `rate` per second, `layout`).

    The output begins at 0 s. Samples are placed by their time stamps: overlaps are cut, and gaps become silence. In the
    middle of a long silence, whole frames are left out.
    """

    def __init__(self, rate: int, layout: str) -> None:
        self._rate, self._layout = rate, layout
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._next_s = Fraction(0)  # time of the next frame if it has no time stamp
        self._waiting = np.zeros((1 if layout == "mono" else 2, 0), np.float32)
        self._num_given = self._num_dropped = 0

    def placed(self, frames: Iterable[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        """Add frames and yield the completed ones. Raises FFmpegError or ValueError for an unknown format."""
        for frame in frames:
            start_s = self._next_s if frame.pts is None else frame.pts * frame.time_base
            form = frame.format.name, frame.layout.name, frame.sample_rate
            if abs(start_s - self._next_s) > _SLACK_S or form != self._form:
                yield from self._flushed()
                yield from self._moved(start_s if abs(start_s - self._next_s) > _SLACK_S else self._next_s)
                self._form, self._resampler = form, av.AudioResampler("fltp", self._layout, self._rate)
            self._next_s += Fraction(frame.samples, frame.sample_rate)
            frame.pts = None  # PyAV's resampler would take it for a number of samples
            for part in self._resampler.resample(frame):
                yield from self._added(part.to_ndarray())

    def rest(self) -> Iterator[av.AudioFrame]:
        """Yield the remaining frames at the end; the last one may be shorter."""
        yield from self._flushed()
        if self._waiting.shape[1]:
            yield self._frame(self._waiting)

    def _flushed(self) -> Iterator[av.AudioFrame]:
        """Yield the frames that the resampler still holds, before it is replaced."""
        resampler, self._resampler = self._resampler, None
        for part in resampler.resample(None) if resampler is not None else ():
            yield from self._added(part.to_ndarray())

    def _moved(self, start_s: Fraction) -> Iterator[av.AudioFrame]:
        """Move to `start_s`: yield silence up to it, or drop the next samples if that time has already passed."""
        self._next_s = start_s
        missing = round(start_s * self._rate) - self._num_given - self._waiting.shape[1]
        self._num_dropped = max(0, -missing)
        if missing > _LONG_PAUSE_S * self._rate:
            first = -self._waiting.shape[1] % NUM_IN_FRAME + _NUM_AT_END
            yield from self._silence(first)
            left_out = (missing - first - _NUM_AT_END) // NUM_IN_FRAME * NUM_IN_FRAME
            self._num_given += left_out
            missing -= first + left_out
        yield from self._silence(max(0, missing))

    def _silence(self, num: int) -> Iterator[av.AudioFrame]:
        return self._added(np.zeros((len(self._waiting), num), np.float32))

    def _added(self, samples: np.ndarray) -> Iterator[av.AudioFrame]:
        num_dropped = min(self._num_dropped, samples.shape[1])
        self._num_dropped -= num_dropped
        # damaged sound may decode to NaN, which the encoder rejects
        samples = np.clip(np.nan_to_num(samples[:, num_dropped:]), -1, 1)
        self._waiting = np.concatenate([self._waiting, samples], axis=1)
        while self._waiting.shape[1] >= NUM_IN_FRAME:
            yield self._frame(self._waiting[:, :NUM_IN_FRAME])
            self._waiting = self._waiting[:, NUM_IN_FRAME:]

    def _frame(self, samples: np.ndarray) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.time_base, frame.pts = self._rate, Fraction(1, self._rate), self._num_given
        self._num_given += samples.shape[1]
        return frame
