"""How log messages are written: warnings for a person or a scheduler, everything to the log file."""

import logging
import re
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.run.progress import json_line, printable

log = logging.getLogger("maskbatch")

_OWN_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ maskbatch")


class _OneLine(logging.Formatter):
    """A message is one line, whatever names of files are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """A message is a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record.levelname.lower(), text=record.getMessage())


def _check_log(path: Path) -> None:
    """A slip in the order of options must not write into a recording."""
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:  # there is none, or it cannot be written either
        return
    if start and not _OWN_LINE.match(start):
        raise UsageError(f"{path} is there, and not a log of maskbatch: give another file with --log-file")


def log_handlers(stderr, log_file: Path | None, as_json: bool) -> list[logging.Handler]:
    """Handlers of all messages of ours, which the caller removes: warnings go to `stderr`, everything to the log file.
    Raises UsageError when that cannot be written, or is something else than a log of ours."""
    if log_file:
        _check_log(log_file)
    handlers = [logging.StreamHandler(stderr)]
    handlers[0].setFormatter(_Json() if as_json else _OneLine("%(levelname)s: %(message)s"))
    handlers[0].setLevel(logging.WARNING)
    if log_file:
        try:
            handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot write the log {log_file}: {error.strerror}") from error
        handlers[1].setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    return handlers
