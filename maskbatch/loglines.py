"""How log messages are written: warnings for a person or a scheduler, everything to the log file."""

import logging
from pathlib import Path

from maskbatch.errors import UsageError
from maskbatch.progress import json_line, printable

log = logging.getLogger("maskbatch")


class _OneLine(logging.Formatter):
    """A message is one line, whatever names of files are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """A message is a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record.levelname.lower(), text=record.getMessage())


def log_handlers(stderr, log_file: Path | None, as_json: bool) -> list[logging.Handler]:
    """Handlers of all messages of ours, which the caller removes: warnings go to `stderr`, everything to the log file.
    Raises UsageError when that cannot be written."""
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
