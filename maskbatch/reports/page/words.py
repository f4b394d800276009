"""Format numbers, times and states for the page."""

from maskbatch.reports.statistics import Rate

STATE_WORDS = {
    "with_mask": "with a mask", "without_mask": "without a mask", "incorrect_mask": "mask possibly worn incorrectly",
    "unsure": "unsure",
}  # fmt: skip
REASON_WORDS = {
    "small": "the face is too small", "blurred": "the face is too blurred", "dark": "the face is too dark",
    "turned": "the face is turned away", "in between": "the probabilities lie in between",
    "brief": "a state was seen too briefly", "reviewed": "the reviewer could not judge either",
}  # fmt: skip


def percent(share: float | None) -> str:
    """Return a share as a percentage with one decimal, such as `59.1 %` for 0.5909, or `unknown`.

    The space does not break, so that the sign stays with its number.
    """
    return "unknown" if share is None or share != share else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def interval(rate: Rate) -> str:
    """Return the 95 % interval of a rate in words, or why there is no interval."""
    if rate.low is None or rate.high is None:
        return "no interval: too few people or recordings"
    return f"95 % interval {percent(rate.low)} to {percent(rate.high)}"


def number(count: float) -> str:
    """Return a whole number with commas between thousands: `12,345`."""
    return f"{round(count):,}"


def people(count: int) -> str:
    """Return a number of people: `1 person`, `12 people`."""
    return f"{number(count)} {'person' if count == 1 else 'people'}"


def files(count: int) -> str:
    """Return a number of files: `1 file`, `12 files`."""
    return f"{number(count)} {'file' if count == 1 else 'files'}"


def duration(seconds: float) -> str:
    """Return a duration: `3.4 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(clock: str, seconds: float) -> str:
    """Return a clock time, such as `2026-11-20 22:00:04 +00:00`, or the time in the file if the clock is unknown.

    Args:
        clock: ISO 8601 with offset, or "".
        seconds: seconds from the start of the file.
    """
    if not clock:
        whole = int(seconds)
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} in the file"
    return f"{clock[:10]} {clock[11:19]} {clock[19:].lstrip('.0123456789')}"


def size(num_bytes: int) -> str:
    """Return a number of bytes: `512 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
