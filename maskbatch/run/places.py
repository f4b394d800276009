"""Draw the zones and lines of a camera onto a frame."""

from pathlib import Path

import numpy as np

from maskbatch.drawing.places import draw_places
from maskbatch.errors import DecodeError, UsageError
from maskbatch.media.decode import open_source
from maskbatch.media.kinds import kind_by_content, kind_by_name
from maskbatch.media.write import write_image
from maskbatch.people.places_file import read_places
from maskbatch.settings import SamplingSettings
from maskbatch.types import Source


def draw_frame(path: Path, places: str, name: str, frame: int, out: Path) -> str:
    """Write the frame number `frame` of a photo or video with the zones and lines of its camera to `out`.

    Returns the name of the camera, which the `name` of the file determines. Raises UsageError when there is no such
    camera or frame, or the picture exists; DecodeError when the file cannot be read; OSError when the picture cannot be
    written.
    """
    camera = read_places(places).camera_of(name)
    if camera is None:
        raise UsageError(f"no camera in {places} has files like {name!r}: give the name in the reports with --name")
    if out.exists():
        raise UsageError(f"{out} exists: give another name with --out")
    image = _frame(Source(0, path, path.name, kind_by_name(path) or kind_by_content(path)), frame)
    size = np.array(image.shape[1::-1], np.float64)
    polygons = [
        (zone.name, np.array(zone.polygon) * (size if zone.is_share else 1), zone.ignore) for zone in camera.zones
    ]
    lines = [
        (line.name, *(np.array(point) * (size if line.is_share else 1) for point in (line.begin, line.end)))
        for line in camera.lines
    ]
    write_image(out, draw_places(image, polygons, lines))
    return camera.name


def _frame(source: Source, number: int) -> np.ndarray:
    try:
        with open_source(source, SamplingSettings()) as reader:
            for decoded in reader:
                if decoded.index == number:
                    return decoded.image
    except DecodeError as error:  # the row of a scan has the name, a message has none
        raise type(error)(f"{source.path}: {error}") from error
    raise UsageError(f"{source.path} has no frame {number}: the last one is {reader.frames_decoded - 1}")
