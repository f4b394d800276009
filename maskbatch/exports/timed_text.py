"""Episodes as timed text: subtitles (WebVTT), chapters (FFmpeg metadata), and edit lists (EDL, CMX 3600)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from maskbatch.exports.tables import Exported
from maskbatch.states import WITHOUT_MASK

_WORDS = {"with_mask": "with a mask", "without_mask": "without a mask", "incorrect_mask": "mask worn incorrectly",
          "unsure": "unsure"}  # fmt: skip
_EDL_FPS = 25


def as_webvtt(results: Exported) -> dict[str, str]:
    """Return subtitles for each video with the state of each person, which players show with the annotated copy.

    Times come from the time stamps of frames, so that variable frame rates do not matter.
    """

    def write(source: str, episodes: list) -> str:
        cues = [_cue(one) for one in episodes]
        return "\n\n".join(["WEBVTT", f"NOTE {_line(source)}", *cues]) + "\n"

    return _texts(results, ".vtt", write, _WORDS)


def as_chapters(results: Exported) -> dict[str, str]:
    """Return FFmpeg metadata with a chapter for each stretch without a mask.

    `ffmpeg -i copy.mp4 -i x.ffmetadata -map_metadata 1 -codec copy` adds the chapters to an MP4 file.
    """

    def write(source: str, episodes: list) -> str:
        lines = [";FFMETADATA1"]
        for one in episodes:
            begin, end = round(1000 * one.from_s), max(round(1000 * one.to_s), round(1000 * one.from_s) + 1)
            title = _escaped(f"Person {one.person} {_WORDS[one.state]}")
            lines.append(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={begin}\nEND={end}\ntitle={title}")
        return "\n".join(lines) + "\n"

    return _texts(results, ".ffmetadata", write, {WITHOUT_MASK})


def as_edl(results: Exported) -> dict[str, str]:
    """Return an edit list for each video with its stretches without a mask; the time code has 25 frames/s."""

    def write(source: str, episodes: list) -> str:
        lines, record = [f"TITLE: {_line(source)}", "FCM: NON-DROP FRAME", ""], 0
        for number, one in enumerate(episodes, 1):
            begin = round(_EDL_FPS * one.from_s)
            end = max(round(_EDL_FPS * one.to_s), begin + 1)
            spans = (begin, end, record, record + end - begin)
            lines.append(f"{number:03d}  AX       V     C        {' '.join(map(_timecode, spans))}")
            lines += [f"* FROM CLIP NAME: {_line(source)}", f"* COMMENT: Person {one.person} {_WORDS[one.state]}", ""]
            record += end - begin
        return "\n".join(lines) + "\n"

    return _texts(results, ".edl", write, {WITHOUT_MASK})


def _texts(
    results: Exported, ending: str, write: Callable[[str, list], str], states: Collection[str]
) -> dict[str, str]:
    """Return a text for each video that has episodes in `states`."""
    return {f"{source}{ending}": write(source, own) for source, own in results.episodes_of_videos(states).items()}


def _cue(one: object) -> str:
    end_s = max(one.to_s, one.from_s + 0.001)
    return f"{_clock(one.from_s)} --> {_clock(end_s)}\nPerson {one.person}: {_WORDS[one.state]}"


def _clock(seconds: float) -> str:
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}.{whole % 1000:03d}"


def _timecode(frames: int) -> str:
    seconds = frames // _EDL_FPS
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames % _EDL_FPS:02d}"


def _line(text: str) -> str:
    """Return a name on one line, without text that would end a note or a cue."""
    return " ".join(text.replace("-->", "->").split())


def _escaped(text: str) -> str:
    return "".join("\\" + one if one in "=;#\\\n" else one for one in text)
