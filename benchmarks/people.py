"""Compare people, tracks and episodes of a scan with the truth of rendered clips.

    pip install -e '.[dev]' && python benchmarks/people.py CLIPS [--sample-fps auto all 6 3 2] [--names corridor ...]

CLIPS is the folder that benchmarks/rendered.py wrote. IDF1, HOTA and MOTA are those of TrackEval (Luiten et al. 2020), over
all analysed frames, with the persons of a scan as tracks. Verdicts are right when the state of the truth decides: without a
mask for a second or more, or always with one. A change is found when an episode of the new state begins near it. A box that
overlaps the true one by less than --min-iou counts as a face missed and a false one; annotated boxes are loose or tight.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from trackeval.metrics import CLEAR, HOTA, Identity

import maskbatch as mb
from maskbatch.analyse.gate import Gate
from maskbatch.media.video.reader import VideoReader
from maskbatch.run.options import scan_settings
from maskbatch.types import Source

_MIN_IOU = 0.5
_NEAR_S = 1.0
_COLUMNS = ("clip", "fps", "analysed", "IDF1", "HOTA", "MOTA", "people", "truth", "verdicts right", "changes found",
            "mean error s")  # fmt: skip


def scanned(clip: Path, sample_fps: str, out: Path, det_threshold: float) -> mb.Results:
    """Scan a clip."""
    number = sample_fps if sample_fps in ("auto", "all") else float(sample_fps)
    return mb.scan(clip, out, sample_fps=number, save="none", det_threshold=det_threshold)


def analysed(clip: Path, sample_fps: str) -> np.ndarray:
    """Return the numbers of the frames that a scan analyses, also of those without a face."""
    options = scan_settings(mb.ScanOptions(sample_fps=sample_fps if sample_fps in ("auto", "all") else float(sample_fps),
                                           save="none"))  # fmt: skip
    gate = Gate() if options.sampling.is_gated else None
    with VideoReader(
        Source(0, clip, clip.name, "video"), options.sampling, options.output.segment_s, gate=gate
    ) as reader:
        return np.array([frame.index for frame in reader])


def measured(clip: Path, sample_fps: str, out: Path, min_iou: float, det_threshold: float) -> dict[str, object]:
    """Return the figures of one clip at one sampling, scanned into the new folder `out`."""
    results = scanned(clip, sample_fps, out, det_threshold)
    truth, facts = pd.read_csv(clip.with_suffix(".csv")), json.loads(clip.with_suffix(".json").read_text())
    faces, people, episodes = results.faces(), results.people(), results.episodes()
    counted = people[~people["flags"].str.contains("static")]
    truth = truth[truth.is_static == 0]
    faces = faces[faces.person.isin(counted.person)]
    frames = analysed(clip, sample_fps)
    sequence, overlap = tracking_data(truth[truth.frame.isin(frames)], faces, frames)
    who = matched(overlap)
    right = [person for person, own in truth.groupby("person") if verdict_of(own) == _verdict(counted, who.get(person))]
    errors = [
        _onset_error(episodes, who.get(person), state, begin)
        for (person, state, begin, _), before in zip(facts["episodes"][1:], facts["episodes"], strict=False)
        if person == before[0]
    ]
    found = [error for error in errors if error is not None]
    limit = {"THRESHOLD": min_iou, "PRINT_CONFIG": False}
    return dict(zip(_COLUMNS, (
        clip.stem, sample_fps, int(results.files().frames_analysed.iloc[0]),
        round(float(Identity(limit).eval_sequence(sequence)["IDF1"]), 3),
        round(float(HOTA().eval_sequence(sequence)["HOTA"].mean()), 3),
        round(float(CLEAR(limit).eval_sequence(sequence)["MOTA"]), 3), len(counted), facts["people"],
        f"{len(right)}/{truth.person.nunique()}", f"{len(found)}/{len(errors)}",
        round(float(np.mean(found)), 2) if found else None,
    ), strict=True))  # fmt: skip


def tracking_data(truth: pd.DataFrame, faces: pd.DataFrame, frames: np.ndarray) -> tuple[dict, dict]:
    """Return the sequence that TrackEval's metrics take, and how often each (truth, person) pair overlaps."""
    ids = [sorted(set(table.person)) for table in (truth, faces)]
    place = [{person: at for at, person in enumerate(own)} for own in ids]
    sequence = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    overlap: dict[tuple[int, int], int] = {}
    columns = ["x_min", "y_min", "x_max", "y_max"]
    by_frame = [dict(iter(table.groupby("frame"))) for table in (truth, faces)]
    for frame in frames.tolist():
        real, seen = (own.get(frame, table.iloc[:0]) for own, table in zip(by_frame, (truth, faces), strict=True))
        similarity = _iou(real[columns].to_numpy(), seen[columns].to_numpy())
        sequence["gt_ids"].append(np.array([place[0][person] for person in real.person], int))
        sequence["tracker_ids"].append(np.array([place[1][person] for person in seen.person], int))
        sequence["similarity_scores"].append(similarity)
        for row, column in zip(*np.nonzero(similarity >= _MIN_IOU), strict=True):
            pair = int(real.person.iloc[row]), int(seen.person.iloc[column])
            overlap[pair] = overlap.get(pair, 0) + 1
    sequence |= {
        "num_timesteps": len(frames), "num_gt_ids": len(ids[0]), "num_tracker_ids": len(ids[1]),
        "num_gt_dets": sum(map(len, sequence["gt_ids"])), "num_tracker_dets": sum(map(len, sequence["tracker_ids"])),
    }  # fmt: skip
    return sequence, overlap


def matched(overlap: dict[tuple[int, int], int]) -> dict[int, int]:
    """Return the person of the scan for each one of the truth, one to one, with the most overlaps in all."""
    real, seen = (sorted({pair[at] for pair in overlap}) for at in (0, 1))
    counts = np.array([[overlap.get((one, other), 0) for other in seen] for one in real]).reshape(len(real), len(seen))
    rows, columns = linear_sum_assignment(-counts)
    return {real[row]: seen[column] for row, column in zip(rows, columns, strict=True) if counts[row, column]}


def verdict_of(own: pd.DataFrame) -> str:
    """Return the verdict that follows from the truth of one person."""
    bare = own[own.state == "without_mask"]
    return "without_mask" if len(bare) and bare.time_s.max() - bare.time_s.min() >= 1 else "with_mask"


def _verdict(people: pd.DataFrame, person: int | None) -> str | None:
    own = people[people.person == person]
    return own.verdict.iloc[0] if len(own) else None


def _onset_error(episodes: pd.DataFrame, person: int | None, state: str, at_s: float) -> float | None:
    own = episodes[(episodes.person == person) & (episodes.state == state)]
    errors = (own.from_s - at_s).abs()
    return float(errors.min()) if len(own) and errors.min() <= _NEAR_S else None


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    sides = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - top_left, 0, None)
    area = [np.prod(np.clip(own[:, 2:] - own[:, :2], 0, None), axis=1) for own in (first, second)]
    inside = sides[..., 0] * sides[..., 1]
    return inside / np.maximum(area[0][:, None] + area[1][None] - inside, 1e-9)


def main() -> None:
    """Print a table of all clips and samplings."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--sample-fps", nargs="+", default=["auto", "all", "6", "3", "2"])
    parser.add_argument("--min-iou", type=float, default=_MIN_IOU)
    parser.add_argument("--det-threshold", type=float, default=mb.ScanOptions().det_threshold)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print("| " + " | ".join(_COLUMNS) + " |\n|" + "---|" * len(_COLUMNS), flush=True)
    rows = []
    for clip in sorted(given.clips.glob("*.mp4")):
        if given.names is None or clip.stem in given.names:
            for sample_fps in given.sample_fps:
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / "out"
                    rows.append(measured(clip, sample_fps, out, given.min_iou, given.det_threshold))
                print(
                    "| " + " | ".join("" if value is None else str(value) for value in rows[-1].values()) + " |",
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
