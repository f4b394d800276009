"""Which sources are open, so that a file on which the process died is known afterwards.

`.state/journal` gets a line when a source is opened and one when it is closed, with other signs when only its sound is
read. A process that ends by itself empties it, but for the sources whose sound has to be left out.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from maskbatch.data import Source
from maskbatch.errors import DecodeError, PassingError
from maskbatch.media.decode import Reader
from maskbatch.media.limited import limited
from maskbatch.media.probe import probe
from maskbatch.media.sound import SoundReader
from maskbatch.timings import Timings

# what a line begins with: when a source is opened, and when it is closed
PICTURE, SOUND = ("+", "-"), ("(", ")")

_JOURNAL = Path(".state", "journal")
_log = logging.getLogger(__name__)


class Journal:
    """The journal of a run. Lines are appended in one go, by any thread, and left to the system to store: it keeps them
    when the process dies. To be used in a `with` block, at whose end it is emptied, but for the names in `silenced`: sources
    whose sound must not be read, and why. They stay suspects until they are done."""

    def __init__(
        self, out: Path, silenced: Mapping[str, str] | None = None, is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._path, self._is_over = out / _JOURNAL, is_over
        self._silenced, self._num_kept = dict(silenced or {}), 0
        self._descriptor: int | None = None
        self._has_failed = False
        # a descriptor that is closed between being read and being written to may by then be another file's
        self._lock = threading.Lock()

    def __enter__(self) -> "Journal":
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)
        for name in self._silenced:
            self.note(SOUND[0], name)
        self._num_kept = os.fstat(self._descriptor).st_size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # a decoder may still be at work in its thread; what it notes from here on is dropped
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            os.ftruncate(descriptor, self._num_kept)
            os.close(descriptor)

    def note(self, sign: str, name: str) -> None:
        """Append that the source `name` was opened or closed; `sign` is one of PICTURE or SOUND. Where that cannot be
        written the run goes on, with a warning: the file is not to blame."""
        with self._lock:
            if self._descriptor is None:
                return
            try:
                os.write(self._descriptor, f"{sign}{json.dumps(name)}\n".encode("ascii"))
            except OSError as error:
                if not self._has_failed:
                    _log.warning("%s cannot be written (%s): should a file end this program, the next run will not know "
                                 "which", self._path, error.strerror or error)  # fmt: skip
                self._has_failed = True

    def check_sound(self, name: str) -> None:
        """Raise DecodeError with the reason, if the sound of the source `name` must not be read."""
        if name in self._silenced:
            raise DecodeError(self._silenced[name])

    def probed(self, source: Source, limit_s: float, upright: bool = True) -> Source:
        """A video as `probe` has it, in the journal meanwhile; a photo, and one whose probe takes longer, as it is. Raises
        Interrupted once the run is over."""
        if source.kind == "image":
            return source
        self.note(PICTURE[0], source.name)
        try:
            source = limited(partial(probe, source, upright), limit_s, self._is_over)
        except PassingError:  # its decoder never returns, and stays open here; nor will its reader
            return source
        self.note(PICTURE[1], source.name)
        return source


class NotedReader:
    """A reader that is in the journal while it is open, its work timed as the stage "decode"."""

    def __init__(
        self, reader: Reader, journal: Journal, name: str, timings: Timings, signs: tuple[str, str] = PICTURE
    ) -> None:
        self._reader, self._journal, self._name, self._timings = reader, journal, name, timings
        self._opened, self._closed = signs

    @property
    def frames_decoded(self) -> int:
        return self._reader.frames_decoded

    @property
    def progress(self) -> int:
        return self._reader.progress

    @property
    def notes(self) -> tuple[str, ...]:
        return self._reader.notes

    def __enter__(self) -> "NotedReader":
        self._journal.note(self._opened, self._name)
        try:
            self._reader.__enter__()
        except BaseException:
            self._journal.note(self._closed, self._name)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)
        self._journal.note(self._closed, self._name)

    def __iter__(self) -> Iterator[tuple[int, float, np.ndarray]]:
        return self._timings.items("decode", self._reader)


class NotedSound(NotedReader):
    """A reader of a source's sound, which is in the journal as such while it is open. Entering raises DecodeError when that
    sound must not be read."""

    def __init__(self, reader: SoundReader, journal: Journal, name: str) -> None:
        super().__init__(reader, journal, name, Timings(), SOUND)  # it is timed with what is written

    def __enter__(self) -> "NotedSound":
        self._journal.check_sound(self._name)
        super().__enter__()
        return self


def left_open(out: Path, signs: tuple[str, str] = PICTURE) -> list[str]:
    """The names of the sources that were open when the last run in `out` died; none after a clean end. With the signs SOUND,
    those whose sound was."""
    try:
        lines = (out / _JOURNAL).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    is_open: dict[str, None] = {}
    for line in lines:
        try:
            name = json.loads(line[1:])
        except ValueError:  # the power went in the middle of it
            continue
        if line[0] == signs[0]:
            is_open[name] = None
        elif line[0] == signs[1]:
            is_open.pop(name, None)
    return list(is_open)
