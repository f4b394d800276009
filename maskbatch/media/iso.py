"""Times in ISO 8601, read alike by all versions of Python."""

import re
from datetime import datetime

# time of day, fraction, and offset; before 3.11, Python reads fractions of 3 or 6 digits only, and offsets like +01:00
_CLOCK = re.compile(r"([T ]\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?(?:([+-]\d\d):?(\d\d)?|Z)?$")


def iso_time(text: str) -> datetime:
    """Parse a time. Raises ValueError.

    Example:
        >>> iso_time("2026-11-20T22:00:00.5+01").isoformat()
        '2026-11-20T22:00:00.500000+01:00'
    """
    return datetime.fromisoformat(_CLOCK.sub(_in_full, text.strip()))


def _in_full(found: re.Match) -> str:
    fraction = f".{found[2][:6]:0<6}" if found[2] else ""
    offset = f"{found[3]}:{found[4] or '00'}" if found[3] else "+00:00" if found[0].endswith("Z") else ""
    return found[1] + fraction + offset
