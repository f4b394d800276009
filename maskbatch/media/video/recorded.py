"""Read a video's tags of recording time and camera, but never those of the place."""

import av
from av.container import InputContainer

from maskbatch.media.iso import iso_time

# FFmpeg's names, to which it maps the names in most containers
_TIMES = ("creation_time", "date", "date_recorded", "com.apple.quicktime.creationdate")
_MAKE, _MODEL = "com.apple.quicktime.make", "com.apple.quicktime.model"
_CAMERAS = (_MAKE, _MODEL, "com.android.manufacturer", "com.android.model")
# other programs look for QuickTime's names in an MP4
_RENAMED = {"make": _MAKE, "model": _MODEL}
# a longer text is neither a time nor a camera
_MOST_LETTERS = 200

# (name, value) of each tag
Tags = tuple[tuple[str, str], ...]


def recorded(container: InputContainer, stream: av.VideoStream) -> Tags:
    """Return the tags of recording time and camera; tags of the container take precedence over tags of its stream."""
    found: dict[str, str] = {}
    for tags in (container.metadata, stream.metadata):
        lowered = {name.lower(): value for name, value in tags.items()}
        for name, value in lowered.items():
            found.setdefault(_RENAMED.get(name, name), value)
    return tuple((name, found[name]) for name in (*_TIMES, *_CAMERAS) if name in found and _is_sound(name, found[name]))


def _is_sound(name: str, value: str) -> bool:
    if not value or len(value) > _MOST_LETTERS or not value.isprintable():
        return False
    try:
        # an MP4 counts time from 1904
        return name != "creation_time" or iso_time(value).year > 1904
    except ValueError:
        return False
