"""Handlers of log messages: warnings go to the terminal, and all messages to the log file."""

import logging
import re
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.run.progress import json_line, printable

log = logging.getLogger("maskbatch")

_OWN_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ maskbatch")


class _OneLine(logging.Formatter):
    """A formatter that writes a message on one line, even if it contains names with line breaks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """A formatter that writes a message as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record.levelname.lower(), text=record.getMessage())


def _check_log(path: Path) -> None:
    """Raise UsageError for a file that is not a maskbatch log: mixed-up options must not damage a recording."""
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:  # the file does not exist, or cannot be written either
        return
    if start and not _OWN_LINE.match(start):
        raise UsageError(f"{path} exists and is not a log of maskbatch: give another file with --log-file")


def log_handlers(stderr, log_file: Path | None, as_json: bool) -> list[logging.Handler]:
    """Add handlers to the logger `maskbatch` and return them; the caller removes them.

    Warnings go to `stderr`, and all messages to the log file. Raises UsageError when that file cannot be written, or is
    not a log of maskbatch.
    """
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
