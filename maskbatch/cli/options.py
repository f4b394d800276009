"""The options of a scan, and options that several commands share."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click

from maskbatch.cli.parameters import GROUPS, PATH, PLACE, Duration, Number, WordOr, grouped, options
from maskbatch.run.scan_options import ScanOptions
from maskbatch.settings import CPU_BATCH, GPU_BATCH, THIRD_STATE

BESIDE = "<beside the input>"
_WHAT, _PEOPLE, _SPEED, _VIDEO, _OUTPUT, _ADVANCED = GROUPS
_FIELDS = {item.name: item for item in fields(ScanOptions)}


def _of_scan(group: str, name: str, help: str, **more: object) -> Callable:
    """Return the click option for a field of `ScanOptions`, with its name, default, and range or choices.

    `flag` in `more` is the name on the command line if it differs.
    """
    item, flag = _FIELDS[name], more.pop("flag", f"--{name.replace('_', '-')}")
    if item.type == (bool | None):
        return grouped(group, f"{flag}/--no-{flag[2:]}", default=None, help=help)
    if item.default is False:
        return grouped(group, flag, is_flag=True, help=help)
    if item.default is True:
        return grouped(group, f"{flag}/--no-{flag[2:]}", default=True, show_default=True, help=help)
    if choices := item.metadata.get("choices"):
        more["type"] = click.Choice(choices)
    elif limits := item.metadata.get("limits"):
        kind = click.IntRange if "int" in str(item.type) else Number
        number = kind(limits.least, limits.most, min_open=limits.is_open)
        words = item.metadata.get("words")
        more["type"] = WordOr(words, number) if words else number
    more.setdefault("show_default", item.default is not None)
    return grouped(group, flag, name, default=item.default, help=help, **more)


def _type_of(name: str) -> dict[str, object]:
    """Return the click type of a report rule, as arguments of the option."""
    item = _FIELDS[name]
    if item.default is False:
        return {"is_flag": True}
    if choices := item.metadata.get("choices"):
        return {"type": click.Choice(choices)}
    limits = item.metadata.get("limits")
    return {"type": Number(limits.least, limits.most, min_open=limits.is_open) if limits else str}


FAIL_UNDER = grouped(_OUTPUT, "--fail-under", type=Number(0, 1), metavar="P",
                     help="Exit with code 4 unless the 95 % interval of the rate with a mask lies above P.")  # fmt: skip
_SHARD = _of_scan(
    _WHAT, "shard", "Scan only shard K of N on this machine; maskbatch merge joins the output folders of all shards.",
    metavar="K/N",
)  # fmt: skip
_HIDDEN = _of_scan(
    _WHAT, "include_hidden", "Also scan hidden entries, thumbnail folders and recycle bins (@eaDir, $RECYCLE.BIN)."
)
_ABOUT_INPUTS = options(
    grouped(_WHAT, "--from-list", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
            help="Also scan the paths in FILE (- for standard input): one per line, or separated by NUL bytes."),
    _of_scan(_WHAT, "limit", "Scan the first N files only.", metavar="N"),
    _SHARD,
    _HIDDEN,
)  # fmt: skip
_RULES = (
    ("min_bare", "Minimum seconds without a mask for a person to count as without one.", "SECONDS"),
    ("max_gap", "Maximum seconds that a person may be out of sight within an episode.", "SECONDS"),
    ("count_static", "Also count faces that never move, such as those on posters and screens.", None),
    ("clock", "Source of the time of recording. auto: names of files and their metadata, which must agree.", None),
    ("start", "Time at which the recordings begin, such as 2026-11-20T22:00; replaces --clock.", "TIME"),
    ("timezone", "Time zone of the cameras, such as Europe/Berlin; without it, that of this machine.", "NAME"),
    ("path_template", 'Site, camera and start in the names of files, such as "{site}/{camera}/{start:%Y-%m-%d_%H-%M-%S}".',
     "TEMPLATE"),
    ("places", "File with cameras, zones, lines and shifts: see docs/places.md.", "FILE"),
)  # fmt: skip


def rules(before: str) -> Callable:
    """Return the same options for a report, where None means: as in `before`, "scan" or "last report"."""
    return options(
        *(
            click.option(f"--{name.replace('_', '-')}", default=None, metavar=metavar,
                         help=f"{help} Default: as in the {before}.", **_type_of(name))
            for name, help, metavar in _RULES
        )
    )  # fmt: skip


_SESSION = options(
    _of_scan(_WHAT, "if_exists", "When the output folder holds an earlier scan: continue it, replace it, or stop."),
    grouped(_WHAT, "--dry-run", is_flag=True,
            help="List the files that a scan would read, with estimates of time and disk space; scan nothing."),
    FAIL_UNDER,
)  # fmt: skip
_BEFORE_EVERY = options(
    _of_scan(_WHAT, "threshold", "Minimum probability for a face to count as masked. If the scan is finished, another "
             "value only rewrites the tables.", metavar="P"),
    _of_scan(_WHAT, "third_state", "Label masks that are worn incorrectly (nose or mouth bare) as incorrect_mask, with a "
             f"model that recognises them. Default: {'on with such a model' if THIRD_STATE else 'off'}."),
    _of_scan(_WHAT, "incorrect_threshold", "Minimum probability for a mask to count as worn incorrectly, with "
             "--third-state.", metavar="P"),
    *(_of_scan(_PEOPLE, name, help, **({} if metavar is None else {"metavar": metavar})) for name, help, metavar in _RULES),
    _of_scan(_SPEED, "device", "Device that runs the networks; gpu means all GPUs.", metavar="auto|cpu|gpu|gpu:N"),
    _of_scan(_SPEED, "require_gpu", "Stop with an error when no GPU is usable."),
    _of_scan(_SPEED, "runtime", "Library that runs the networks. auto: TensorFlow on a usable GPU, otherwise OpenVINO."),
    _of_scan(_SPEED, "precision", "Number format of the networks. auto: int8 on a CPU if the model has it, otherwise "
             "fp32."),
    _of_scan(_SPEED, "batch_size", f"Frames that go through the networks together. Default: {CPU_BATCH}; on a GPU "
             f"{GPU_BATCH}.", metavar="N"),
    _of_scan(_SPEED, "workers", "Number of videos, or groups of 256 photos, to scan at the same time.", metavar="N"),
    _of_scan(_VIDEO, "sample_fps", "Frames per second of video to analyse. auto: about 6 while something moves, and one "
             "every two seconds otherwise.", metavar="auto|all|F"),
)  # fmt: skip
_CLUSTER = options(
    _of_scan(_SPEED, "engine", "Scan on this machine (local), or in a Ray cluster (ray, see docs/cluster.md)."),
    _of_scan(_SPEED, "address", "Address of the Ray cluster. Default: $RAY_ADDRESS, or a new cluster on this machine.",
            metavar="HOST:PORT"),
    _of_scan(_SPEED, "worker_cores", "Cores that a Ray worker without a GPU takes. Default: all of the smallest machine.",
             metavar="N"),
    _of_scan(_SPEED, "patience", "Minutes without a result after which a Ray worker is ended.", metavar="MINUTES"),
)  # fmt: skip
_EVERY = "Analyse every N-th frame; replaces --sample-fps."
_BEHIND_EVERY = options(
    _of_scan(_VIDEO, "decode_all", "Also decode the frames between the analysed ones, to find damage; slower."),
    _of_scan(_VIDEO, "hwaccel", "Device that decodes videos, by FFmpeg's name, such as cuda or videotoolbox. auto: the "
            "first that works. Videos that the device cannot decode are decoded in software.", metavar="none|auto|NAME"),
    _of_scan(_VIDEO, "codec", "Encoder of annotated videos, by FFmpeg's name. auto: NVENC, Quick Sync or VideoToolbox if "
             "one works, otherwise libx264.", metavar="auto|NAME"),
    _of_scan(_VIDEO, "crf", "Quality of annotated videos (H.264); lower numbers give better and larger files.",
            metavar="0-51"),
    _of_scan(_VIDEO, "stall_limit", "Give up a video that yields no frame for this long.", metavar="SECONDS"),
    _of_scan(_OUTPUT, "save", "Media to write, separated by commas: annotated (copies), evidence (a few pictures of "
            "each person), crops (every face in every analysed frame), or none.", metavar="WHAT"),
    _of_scan(_OUTPUT, "keep_metadata", "Keep the recording time and the camera of the source in annotated copies, never "
            "the location."),
    _of_scan(_OUTPUT, "anonymize", "Hide faces in all media, even faces too uncertain to count: solid (the only safe "
            "way), pixelate or blur. The media then keep no metadata."),
    _of_scan(_OUTPUT, "whom", "With --anonymize, people to hide: everyone, people with a mask (masked), people "
            "without a mask (without), or everyone outside the zones of --places (except-zones)."),
    _of_scan(_OUTPUT, "mute", "Leave the sound out of annotated videos."),
    _of_scan(_OUTPUT, "csv_bom", "Begin tables with a byte order mark, so that Excel reads names in all scripts."),
    grouped(_OUTPUT, "--log-file", type=PATH, metavar="FILE", help="Write a log with one line for each file to FILE."),
    grouped(_OUTPUT, "--progress", type=click.Choice(("auto", "plain", "json", "none")), default="auto",
            show_default=True, help="Progress on standard error. auto: a bar on a terminal, otherwise lines; json: one "
            "object per line; none: warnings only."),
    grouped(_OUTPUT, "-q", "--quiet", is_flag=True, help="Show warnings and errors only: no progress and no table."),
    _of_scan(_ADVANCED, "model", "Mask classifier: name of a shipped one, or a .keras file from maskbatch train.",
             metavar="NAME|FILE"),
    _of_scan(_ADVANCED, "det_threshold", "Minimum score of a face that counts. In a video, a face with a lower score may "
             "continue a track.", metavar="P"),
    _of_scan(_ADVANCED, "min_face", "Smallest face to find, in pixels of the picture as recorded. Smaller values take "
            "longer; large pictures are then searched in tiles.", metavar="PX"),
    _of_scan(_ADVANCED, "det_size", "Longest side of the detector's input, a multiple of 32; replaces --min-face. "
            "Larger values find smaller faces.", metavar="PX"),
)  # fmt: skip
_COMMON = options(_SESSION, _BEFORE_EVERY, _CLUSTER, _of_scan(_VIDEO, "every", _EVERY, metavar="N"), _BEHIND_EVERY)
scan_options = options(
    grouped(_WHAT, "--out", type=PLACE, metavar="DIR",
            help="Output folder, or an address such as s3://bucket/folder. Default: NAME_maskbatch in the current folder, "
                 "where NAME is the name of the input."),
    _ABOUT_INPUTS, _COMMON,
)  # fmt: skip
video_options = options(
    grouped(_WHAT, "--out", is_flag=False, flag_value=BESIDE, metavar="[DIR]",
            help="Output folder. Default: NAME_maskbatch in the current folder; --out without DIR: beside the input."),
    _COMMON,
)  # fmt: skip
# in watch, --every is the time between two checks
watch_options = options(
    grouped(_WHAT, "--out", type=PATH, metavar="DIR",
            help="Output folder; an earlier scan in it is continued. Default: NAME_maskbatch in the current folder."),
    grouped(_WHAT, "--every", "interval", type=Duration(), default="5m", show_default=True, metavar="TIME",
            help="Time between two checks for new files, such as 30s, 5m or 1h."),
    grouped(_WHAT, "--settle", type=Duration(), default="10s", show_default=True, metavar="TIME",
            help="Time for which a file must stay unchanged before it is scanned."),
    _SHARD, _HIDDEN, _BEFORE_EVERY, _of_scan(_VIDEO, "every", _EVERY, metavar="N", flag="--frame-step"), _CLUSTER,
    _BEHIND_EVERY,
)  # fmt: skip
