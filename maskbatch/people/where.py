"""Find site, camera and start of each source, and the zones and lines of the people in it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from maskbatch.geometry import boxes
from maskbatch.media.names import named, one_line
from maskbatch.people.clock import Start, start_of
from maskbatch.people.looks import Looks
from maskbatch.people.places import Camera
from maskbatch.people.places_file import read_places
from maskbatch.people.templates import template
from maskbatch.settings import ReportSettings

Tags = tuple[tuple[str, str], ...]


class Known(NamedTuple):
    """A stored source that is done or partly done. `recorded` are its tags of time and camera."""

    id: int
    name: str
    kind: str
    fps: float | None
    duration_s: float | None
    width: int | None
    height: int | None
    decoded: int
    analysed: int
    recorded: Tags

    @property
    def read_s(self) -> float | None:
        """Seconds of video that were decoded, at most the duration in the file; None if unknown, and for photos."""
        if self.kind != "video" or not self.fps:
            return None
        read_s = self.decoded / self.fps
        return min(read_s, self.duration_s or read_s)


class Where(NamedTuple):
    """Site, camera and start of a source; `setup` has the zones of its camera. An empty text means unknown."""

    site: str
    camera: str
    start: Start
    setup: Camera | None
    size: tuple[int, int]


def where_of(source: Known, settings: ReportSettings) -> Where:
    """Return where and when a source was recorded. Raises UsageError when the settings cannot be read.

    `places.toml` takes precedence over the path template.
    """
    setup = read_places(settings.places).camera_of(source.name)
    fields = {} if settings.path_template is None else template(settings.path_template).match(source.name)
    site = setup.site if setup is not None and setup.site else str(fields.get("site", ""))
    camera = setup.name if setup is not None else str(fields.get("camera", ""))
    start = start_of(source.name, source.recorded, source.duration_s, settings)
    return Where(site, camera, start, setup, (source.width or 1, source.height or 1))


def unmatched(names: Sequence[str], settings: ReportSettings) -> list[str]:
    """Return a warning for a path template that fits no name of a source, and for cameras to which no source belongs."""
    lines, places = [], read_places(settings.places)
    if settings.path_template is not None and not any(map(template(settings.path_template).match, names)):
        lines.append(f"--path-template {settings.path_template!r} fits no name of a file, such as {one_line(names[0])}")
    used = {places.camera_of(name) for name in names}
    if unused := [f"{camera.name} ({camera.files})" for camera in places.cameras if camera not in used]:
        lines.append(f"{settings.places}: no file belongs to camera {named(unused)}")
    return lines


def place_name(site: str, camera: str, source: str) -> str:
    """Return a readable name for the place of a source: its site and camera, or else its folder."""
    return one_line(" · ".join(filter(None, (site, camera))) or source.rpartition("/")[0]) or "top folder"


def is_looked_at(looks: Looks, where: Mapping[int, Where]) -> np.ndarray:
    """Return (N,) bool: the looks that count by `places.toml`: faces large enough, and outside ignored zones."""
    keep = np.ones(len(looks), bool)
    for place, own in _of_setups(looks, where):
        keep[own] &= boxes.size_px(looks.xyxy[own]) >= place.setup.min_face_px
        for zone in place.setup.zones:
            if zone.ignore:
                keep[own] &= ~zone.contains(boxes.centre(looks.xyxy[own]), place.size)
    return keep


def in_zones(camera: Camera | None, xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (N,) bool: the boxes (N, 4) whose centre lies in a zone of the camera that is not ignored."""
    inside = np.zeros(len(xyxy), bool)
    for zone in () if camera is None else camera.zones:
        if not zone.ignore:
            inside |= zone.contains(boxes.centre(xyxy), size)
    return inside


def zones_of(looks: Looks, where: Mapping[int, Where]) -> np.ndarray:
    """Return the zone (P,) str in which each person is seen most often, "" outside all zones."""
    starts = looks.starts()
    person = np.repeat(np.arange(len(starts)), looks.ends() - starts)
    found = np.full(len(starts), "", object)
    for place, own in _of_setups(looks, where):
        zones = [zone for zone in place.setup.zones if not zone.ignore]
        centre, best = boxes.centre(looks.xyxy[own]), {}
        for zone in zones:
            inside = zone.contains(centre, place.size)
            for position, count in zip(*np.unique(person[own][inside], return_counts=True), strict=True):
                if count > best.get(position, (0, ""))[0]:
                    best[position] = count, zone.name
        for position, (_, name) in best.items():
            found[position] = name
    return found


def crossings_of(looks: Looks, where: Mapping[int, Where]) -> np.ndarray:
    """Return the lines (P,) str that each person crossed, such as "entrance in, entrance out"; "" for none."""
    starts, ends = looks.starts(), looks.ends()
    found = np.full(len(starts), "", object)
    for position, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        place = where[int(looks.source_id[start])]
        if place.setup is not None and place.setup.lines and end - start > 1:
            way = boxes.centre(looks.xyxy[start:end])
            found[position] = ", ".join(
                f"{line.name} {which}" for line in place.setup.lines for which in line.crossings(way, place.size)
            )
    return found


def _of_setups(looks: Looks, where: Mapping[int, Where]) -> Iterator[tuple[Where, np.ndarray]]:
    """Yield (place, positions of its looks) of each source whose camera is in `places.toml`."""
    for source_id, place in where.items():
        if place.setup is not None and len(own := np.flatnonzero(looks.source_id == source_id)):
            yield place, own
