"""CVAT for video 1.1: tracks of the persons in a video (docs.cvat.ai, XML annotation format)."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from maskbatch.exports.tables import Exported
from maskbatch.states import LABELS

_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'


def as_cvat(results: Exported) -> dict[str, str]:
    """Return an XML file for each video by file name, with its persons as tracks of boxes.

    Frames are numbered as in the video, so the CVAT task must contain the whole video with a frame step of 1. Each
    analysed frame is a keyframe, and CVAT interpolates between them. A track is marked `outside` after its last look,
    and when its person is out of sight for longer than a second.
    """
    faces_of = results.faces_of()
    return {
        f"{row.source}.xml": _video(row, faces_of[row.source])
        for row in results.readable()
        if row.kind == "video" and row.source in faces_of
    }


def _video(row: object, faces: object) -> str:
    size = int(row.frames_decoded)
    lines = [_HEAD, "  <meta>\n    <task>\n", f"      <name>{escape(row.source)}</name>\n      <size>{size}</size>\n",
             "      <mode>interpolation</mode>\n      <labels>\n"]  # fmt: skip
    lines += [f"        <label><name>{label}</name>{_ATTRIBUTES}</label>\n" for label in LABELS]
    lines.append(f"      </labels>\n      <original_size><width>{int(row.width)}</width><height>{int(row.height)}</height>"
                 "</original_size>\n    </task>\n  </meta>\n")  # fmt: skip
    for number, ((_, label), own) in enumerate(_stretches(faces)):
        lines += [
            f'  <track id="{number}" label={quoteattr(label)} source="auto">\n',
            *_boxes(own, row),
            "  </track>\n",
        ]
    return "".join([*lines, "</annotations>\n"])


_ATTRIBUTES = (
    "<attributes><attribute><name>person</name><mutable>False</mutable><input_type>number</input_type>"
    "<default_value>0</default_value><values>0;1000000;1</values></attribute>"
    "<attribute><name>p_mask</name><mutable>True</mutable><input_type>text</input_type><default_value></default_value>"
    "<values></values></attribute></attributes>"
)


def _stretches(faces: object) -> list[tuple[tuple[int, str], list]]:
    """Return the faces of each person in stretches of one label, in order: a CVAT track has a single label."""
    found: list[tuple[tuple[int, str], list]] = []
    labelled = faces[faces.label != ""].sort_values(["person", "frame"], kind="stable")
    for face in labelled.itertuples():
        key = int(face.person), face.label
        if not found or found[-1][0] != key:
            found.append((key, []))
        found[-1][1].append(face)
    return found


def _boxes(own: list, row: object) -> list[str]:
    lines = []
    for face, following in zip(own, [*own[1:], None], strict=True):
        lines.append(_box(face, face.frame, 0))
        is_last = following is None or following.time_s - face.time_s > 1.0
        behind = int(face.frame) + 1
        if is_last and behind < row.frames_decoded and (following is None or following.frame > behind):
            lines.append(_box(face, behind, 1))
    return lines


def _box(face: object, frame: int, outside: int) -> str:
    return (f'    <box frame="{int(frame)}" keyframe="1" outside="{outside}" occluded="0" xtl="{face.x_min:.1f}" '
            f'ytl="{face.y_min:.1f}" xbr="{face.x_max:.1f}" ybr="{face.y_max:.1f}">'
            f'<attribute name="person">{int(face.person)}</attribute><attribute name="p_mask">{face.p_mask:.4f}</attribute>'
            "</box>\n")  # fmt: skip
