"""maskbatch from Python: the verbs that the command line calls too.

>>> import maskbatch as mb
>>> faces = mb.find("sample_media/portrait_surgical.jpg")
>>> len(faces), faces.p_mask.round(1).tolist()
(1, [1.0])
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from sqlite3 import Connection

import numpy as np
import pandas as pd

from maskbatch.analyse.pipeline import Stages, analyse
from maskbatch.analyse.tracker import Tracker
from maskbatch.drawing.annotate import annotate
from maskbatch.errors import DecodeError, UsageError
from maskbatch.exports import Exported, write_export
from maskbatch.media.decode import open_source
from maskbatch.media.kinds import kind_by_content, kind_by_name
from maskbatch.media.loader import load
from maskbatch.overlap import never
from maskbatch.people.answer import Answer, find_answer
from maskbatch.reports.diff import Difference, Scanned, diff_table, rate_difference
from maskbatch.reports.frames import files_table, read_faces, read_files
from maskbatch.reports.people import episodes_table, people_table, timeline_table
from maskbatch.reports.rates import Rates, rates_of
from maskbatch.reports.statistics import Rate
from maskbatch.reports.tables import Summary, summary_of
from maskbatch.run.job import Job, run_job
from maskbatch.run.options import check_incorrect_threshold, checked
from maskbatch.run.progress import Listener, Progress, Tally
from maskbatch.run.report import report_again
from maskbatch.run.stages import open_networks, settings_for
from maskbatch.run.stop import Stop
from maskbatch.run.threshold import RULES, Asked, report_settings
from maskbatch.settings import (
    CPU_BATCH,
    INCORRECT_THRESHOLD,
    ClassifierSettings,
    DetectorSettings,
    LoaderSettings,
    RuntimeSettings,
    SamplingSettings,
    ScanOptions,
    ScanSettings,
    Thresholds,
    third_state_or_default,
)
from maskbatch.store.database import open_store
from maskbatch.store.read import last_session
from maskbatch.types import Faces, SegmentResult, Shard, Source

Image = np.ndarray | str | PathLike
Paths = str | PathLike | Sequence[str | PathLike]
THRESHOLD, MIN_FACE = ClassifierSettings().threshold, DetectorSettings().min_face_px


@dataclass(frozen=True, slots=True)
class Frame:
    """One analysed frame of a photo or video.

    Attributes:
        index: number of the frame in its file, from 0.
        timestamp_s: seconds from the start of the file.
        image: (H, W, 3) uint8 RGB, as a person sees it: upright, square pixels.
        faces: the faces of this frame; `track_id` is the person within the file.
    """

    index: int
    timestamp_s: float
    image: np.ndarray
    faces: Faces


class Model:
    """Face detector and mask classifier, opened on a device and kept open.

    Args:
        device: auto, cpu, gpu or gpu:N.
        model: name of a shipped classifier, or the path of a `.keras` file that `maskbatch train` made.
        precision: auto, fp32, fp16, bf16 or int8.
        min_face: smallest face to find, in pixels of the picture; a smaller number takes longer.

    Raises:
        DeviceError: the device is not usable here.
        UsageError: the model or the precision does not exist, or `min_face` is out of its range.
        WeightsError: a weight file is missing or damaged.

    Example:
        >>> model = Model(device="cpu")
        >>> [len(faces) for faces in model.find(["sample_media/groups/meeting.jpg"])]
        [6]
    """

    def __init__(
        self, device: str = "auto", model: str = "mask", precision: str = "auto", min_face: int = MIN_FACE
    ) -> None:
        settings = ScanSettings(
            runtime=RuntimeSettings(device=device, precision=precision),
            detector=DetectorSettings(min_face_px=checked("min_face", min_face)),
            classifier=ClassifierSettings(model=model),
        )
        networks = {kind: open_networks(settings_for(kind, settings)) for kind in ("image", "video")}
        self._detect = {kind: opened.detector(never) for kind, opened in networks.items()}
        self._classify = networks["image"].classifier(never)

    def find(self, images: Sequence[Image]) -> list[Faces]:
        """Find the faces in images, and tell how probable a mask is on each.

        Args:
            images: paths of photos, or arrays (H, W, 3) uint8 RGB, of any sizes.

        Returns:
            One `Faces` for each image, in their order: boxes in pixels, scores, landmarks, `p_mask`, and `p_incorrect`,
            which is NaN when the model does not know masks that are worn incorrectly.

        Raises:
            DecodeError: a photo cannot be read.
            ValueError: an array is not (H, W, 3) uint8.

        Example:
            >>> [faces] = Model().find([np.zeros((480, 640, 3), np.uint8)])
            >>> len(faces)
            0
        """
        found = []
        for start in range(0, len(images), CPU_BATCH):
            arrays = [_read(image) for image in images[start : start + CPU_BATCH]]
            faces = self._classify(arrays, self._detect["image"](arrays))
            found += [_of_row(faces, row) for row in range(len(arrays))]
        return found

    def frames(self, path: str | PathLike, sample_fps: float | None = None, every: int = 1) -> Iterator[Frame]:
        """Analyse a photo or video frame by frame, and follow the people in it.

        Args:
            path: the file.
            sample_fps: analyse about so many frames a second of a video.
            every: analyse every n-th frame.

        Yields:
            The analysed frames in order.

        Raises:
            DecodeError: the file cannot be read; after the last frame, when it is damaged or ends early.

        Example:
            >>> frames = Model().frames("sample_media/video/visitors.mp4", sample_fps=2)
            >>> max(len(frame.faces) for frame in frames)
            3
        """
        path = Path(path)
        source = Source(0, path, path.name, kind_by_name(path) or kind_by_content(path))
        tracker, sampling = Tracker(ScanSettings().tracker), SamplingSettings(every, sample_fps)
        stages = Stages(self._detect[source.kind], self._classify, tracker, tracker.state, tracker.persons)
        for batch in analyse(load([source], sampling, LoaderSettings(), open_source), stages):
            frames = batch.frames
            for row in range(len(frames)):
                yield Frame(int(frames.index[row]), float(frames.timestamp_s[row]), frames.images[row],
                            _of_row(batch.faces, row))  # fmt: skip
            for ended in frames.ended:
                if ended.error is not None:
                    raise DecodeError(ended.error)


def find(image: Image) -> Faces:
    """Find the faces in one image, and tell how probable a mask is on each.

    The networks are opened at the first call and kept; `Model` gives control over the device.

    Args:
        image: the path of a photo, or an array (H, W, 3) uint8 RGB.

    Returns:
        Boxes `xyxy` in pixels, `score`, `landmarks`, `p_mask` and `p_incorrect`, one row a face.

    Raises:
        DecodeError: the photo cannot be read.
        ValueError: the array is not (H, W, 3) uint8.

    Example:
        >>> find("sample_media/portrait_bare.jpg").p_mask.round(1).tolist()
        [0.0]
    """
    [faces] = _model().find([image])
    return faces


def draw(
    image: Image, faces: Faces, threshold: float = THRESHOLD, third_state: bool | None = None,
    incorrect_threshold: float = INCORRECT_THRESHOLD,
) -> np.ndarray:  # fmt: skip
    """Draw boxes, labels and probabilities of faces onto a copy of an image.

    Args:
        image: the path of a photo, or an array (H, W, 3) uint8 RGB.
        faces: what `find` gave for it.
        threshold: minimum `p_mask` for a face to count as masked.
        third_state: masks that are worn incorrectly have a colour and a label of their own; None: the default.
        incorrect_threshold: minimum `p_incorrect` for a mask to count as worn incorrectly, with the third state.

    Returns:
        A new array (H, W, 3) uint8 RGB.

    Raises:
        DecodeError: the photo cannot be read.
        UsageError: the third state is asked for, and the faces have no `p_incorrect`.

    Example:
        >>> picture = "sample_media/portrait_bare.jpg"
        >>> draw(picture, find(picture)).shape
        (600, 560, 3)
    """
    is_on = third_state_or_default(third_state)
    check_incorrect_threshold(is_on, incorrect_threshold != INCORRECT_THRESHOLD)
    if third_state and len(faces) and np.isnan(faces.p_incorrect).all():
        raise UsageError("these faces have no p_incorrect: their model knows no mask that is worn incorrectly")
    return annotate(_read(image), faces, Thresholds(threshold, incorrect_threshold if is_on else None))


def scan(
    paths: Paths,
    out: str | PathLike | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: object,
) -> "Results":
    """Scan photos and videos into an output folder, or continue the scan that is there, as `maskbatch scan` does.

    After an error or a kill, the same call continues where the scan stopped. A scan may run in any thread. Warnings go to
    the logger `maskbatch`.

    Args:
        paths: a path, or several: folders (recursively) and files, in any mix.
        out: the output folder; default: a folder named after the input, in the current folder.
        progress: called after each stored result, in one thread at a time. An exception that it raises ends the scan.
        options: the fields of `ScanOptions`, such as `sample_fps=2` or `save="none"`.

    Returns:
        The results, with the threshold of this scan. A file that could not be read is a row in `files()`, not an error.

    Raises:
        UsageError: an option is unknown or wrong, or the folder holds a scan of other inputs or settings.
        DeviceError: the device is not usable here.
        WeightsError: a weight file is missing or damaged.
        MaskbatchError: another scan is writing to the folder, or the folder cannot be written.

    Example:
        >>> results = scan("sample_media/groups", out="groups", save="none")
        >>> results.summary.files, results.summary.failed
        (4, 0)
    """
    try:
        chosen = ScanOptions(**options)
    except TypeError:
        names = ", ".join(sorted(options.keys() - {item.name for item in fields(ScanOptions)}))
        raise UsageError(f"scan has no option {names}; help(maskbatch.ScanOptions) lists them") from None
    if isinstance(chosen.model, PathLike):
        chosen = replace(chosen, model=str(chosen.model))
    given = [paths] if isinstance(paths, (str, PathLike)) else paths
    job = Job(tuple(Path(path) for path in given), None if out is None else Path(out), chosen)
    return Results(run_job(job, _Caller(progress)).out)


class _Caller(Listener):
    """Tells a function of the caller how far the scan is."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self._progress = progress
        self._tally: Tally | None = None

    @contextmanager
    def at_work(self, sampling: SamplingSettings) -> Iterator[Stop]:
        self._tally = Tally(sampling)
        yield Stop()

    def expect(self, sources: Sequence[Source]) -> None:
        self._tally.expect(sources)

    def add(self, shard: Shard, result: SegmentResult) -> None:
        self._tally.add(shard, result)
        if self._progress is not None:
            self._progress(self._tally.progress())


class Results:
    """The results in the output folder of a scan. Each call reads the store anew, also beside a scan at work.

    Args:
        folder: the output folder of a scan.
        threshold: minimum probability for a face or person to count as masked; default: the scan's own.
        third_state: masks that are worn incorrectly are a label of their own; default: as in the scan.
        incorrect_threshold: minimum probability for a mask to count as worn incorrectly; default: the scan's own.
        rules: other rules of a report, such as `min_bare`, `clock`, `timezone` and `places` (see `ScanOptions`).

    Example:
        >>> results = open("audit")
        >>> results.summary.compliance_rate
        0.5909
    """

    def __init__(
        self, folder: str | PathLike, threshold: float | None = None, third_state: bool | None = None,
        incorrect_threshold: float | None = None, **rules: object,
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        try:
            asked = Asked(threshold, third_state, incorrect_threshold, **rules)
        except TypeError:
            names = ", ".join(sorted(rules.keys() - {item.name for item in fields(Asked)}))
            raise UsageError(f"a report has no rule {names}") from None
        with self._read() as connection:
            self.settings = report_settings(connection, asked)
        self.threshold, self.incorrect_threshold = self.settings.threshold, self.settings.incorrect_threshold

    def __repr__(self) -> str:
        more = "" if self.incorrect_threshold is None else f", incorrect_threshold={self.incorrect_threshold:g}"
        return f"Results({str(self.folder)!r}, threshold={self.threshold:g}{more})"

    @property
    def summary(self) -> Summary:
        """The scan in numbers: files, people with a mask, with one worn incorrectly and without, the compliance rate."""
        with self._read() as connection:
            answer = find_answer(connection, self.settings)
            return summary_of(files_table(connection, answer), self._thresholds, rates_of(answer).people)

    def files(self) -> pd.DataFrame:
        """Return a row for each input, with the columns of `files.csv`.

        Returns:
            Text columns as str, counts as int64, sizes as Int64 (missing where unknown), rates and times as float64.

        Example:
            >>> len(open("audit").files().query("status != 'ok'"))
            0
        """
        with self._read() as connection:
            return read_files(connection, self.settings)

    def people(self) -> pd.DataFrame:
        """Return a row for each person, with the columns of `people.csv`.

        Returns:
            Verdict, seconds in each state, clock and place of each person.

        Example:
            >>> len(open("audit").people().query("verdict == 'without_mask'"))
            9
        """
        return people_table(self._answer())

    def episodes(self) -> pd.DataFrame:
        """Return a row for each stretch of one state of each person, with the columns of `episodes.csv`.

        Example:
            >>> open("audit").episodes().query("state == 'without_mask' and duration_s > 5").source.tolist()
            ['video/visitors.mp4']
        """
        return episodes_table(self._answer())

    def timeline(self) -> pd.DataFrame:
        """Return a row for each minute in which somebody is seen, with the columns of `timeline.csv`.

        Example:
            >>> int(open("audit").timeline().people.max())
            3
        """
        return timeline_table(self._answer())

    def rate(self) -> Rate:
        """Return the share of people with a mask among those who can be judged, with its 95 % interval.

        People of one camera and hour are not independent; the interval is wider for it.

        Example:
            >>> rate = open("audit").rate()
            >>> rate.denominator, rate.low < rate.value < rate.high
            (22, True)
        """
        return self.rates().people

    def rates(self) -> Rates:
        """Return the shares with a mask among people, episodes and person-seconds, each with its interval.

        Example:
            >>> open("audit").rates().episodes.denominator
            23
        """
        return rates_of(self._answer())

    def diff(self, other: str | PathLike) -> pd.DataFrame:
        """Return a row for each change from this scan to the one in the folder `other`: files, people and verdicts.

        Returns:
            `change` (file gone, file new, person gone, person new, verdict), `source`, the person and verdict here and
            there, and the time of the look in seconds.

        Raises:
            UsageError: `other` is not the output folder of a scan.

        Example:
            >>> len(open("audit").diff("audit"))
            0
        """
        with self._two(other) as scans:
            return diff_table(*scans)

    def rate_difference(self, other: str | PathLike) -> Difference:
        """Return the rates of people here and in the folder `other`, and their difference with its 95 % interval.

        Raises:
            UsageError: `other` is not the output folder of a scan.

        Example:
            >>> open("audit").rate_difference("audit").value
            0.0
        """
        with self._two(other) as (first, second):
            return rate_difference(first.answer, second.answer)

    def export(self, format: str, out: str | PathLike | None = None) -> Path:
        """Write the results for other programs; return the file or folder.

        Args:
            format: coco, megadetector, label-studio, parquet, cvat, fiftyone, webvtt, chapters or edl (docs/formats.md).
            out: what to write, which must not exist; default: `export_<format>` in the output folder.

        Raises:
            UsageError: the format is unknown, or `out` exists.
            MaskbatchError: a package is missing.

        Example:
            >>> open("audit").export("coco", "faces.json").name
            'faces.json'
        """
        with self._read() as connection:
            answer, facts = find_answer(connection, self.settings), last_session(connection).facts
            paths = dict(connection.execute("SELECT name, path FROM source"))
            tables = (files_table(connection, answer), read_faces(connection, self._thresholds), people_table(answer),
                      episodes_table(answer))  # fmt: skip
            copies = {source.name: self.folder / copy for source in answer.sources
                      if (copy := answer.pictures.copy_of(source.id))}  # fmt: skip
        exported = Exported(self.folder, *tables, {name: Path(path) for name, path in paths.items()}, copies, facts)
        return write_export(exported, format, None if out is None else Path(out))

    def faces(self, where: str | None = None) -> pd.DataFrame:
        """Return a row for each face in each analysed frame, with the columns of `faces.csv`.

        Args:
            where: a condition in SQL over the columns, such as "p_mask < 0.6 AND x_max - x_min > 40".

        Raises:
            UsageError: the condition is not valid SQL over these columns.

        Example:
            >>> people = open("audit").faces("label = 'without_mask'").groupby("source").track_id.nunique()
            >>> int(people["video/visitors.mp4"])
            1
        """
        with self._read() as connection:
            try:
                return read_faces(connection, self._thresholds, where)
            except pd.errors.DatabaseError as error:
                raise UsageError(f"{where!r} is no condition over the columns of faces.csv: {error}") from error

    def report(
        self, threshold: float | None = None, third_state: bool | None = None, incorrect_threshold: float | None = None
    ) -> "Results":
        """Write the tables of the output folder again, and give the results at these thresholds; nothing is analysed.

        Args:
            threshold: minimum probability to count as masked; default: this object's.
            third_state: masks that are worn incorrectly are a label of their own; default: as in this object.
            incorrect_threshold: minimum probability for a mask to count as worn incorrectly; default: this object's.

        Raises:
            OSError: the folder cannot be written.
            UsageError: the third state is asked for, and the model of the scan has none.

        Example:
            >>> open("audit").report(threshold=0.7).threshold
            0.7
        """
        is_on = self.incorrect_threshold is not None if third_state is None else third_state
        if incorrect_threshold is None and is_on:
            incorrect_threshold = self.incorrect_threshold
        own = {option: getattr(self.settings, name) for option, name in RULES.items()}
        asked = Asked(self.threshold if threshold is None else threshold, is_on, incorrect_threshold, **own)
        _, used, _ = report_again(self.folder, asked)
        return Results(
            self.folder, used.threshold, used.incorrect_threshold is not None, used.incorrect_threshold, **own
        )

    @property
    def _thresholds(self) -> Thresholds:
        return self.settings.thresholds

    def _answer(self) -> Answer:
        with self._read() as connection:
            return find_answer(connection, self.settings)

    @contextmanager
    def _two(self, other: str | PathLike) -> Iterator[tuple[Scanned, Scanned]]:
        """Yield this scan and the one in `other`, which is read by its own rules."""
        theirs = Results(other)
        with self._read() as first, theirs._read() as second:
            answers = find_answer(first, self.settings), find_answer(second, theirs.settings)
            yield Scanned(first, answers[0]), Scanned(second, answers[1])

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with open_store(self.folder, reader=True) as store, store.transaction() as connection:
            yield connection


def open(
    folder: str | PathLike, threshold: float | None = None, third_state: bool | None = None,
    incorrect_threshold: float | None = None, **rules: object,
) -> Results:  # fmt: skip
    """Open the output folder of a scan.

    Args:
        folder: the folder, of a scan that is finished, interrupted or still at work.
        threshold: minimum probability to count as masked; default: the scan's own.
        third_state: masks that are worn incorrectly are a label of their own; default: as in the scan.
        incorrect_threshold: minimum probability for a mask to count as worn incorrectly; default: the scan's own.
        rules: other rules of a report, such as `min_bare`, `clock`, `timezone` and `places` (see `ScanOptions`).

    Returns:
        The results, as tables and numbers.

    Raises:
        UsageError: the folder is not the output of a scan, or the third state is asked for and the scan's model has none.

    Example:
        >>> open("audit")
        Results('audit', threshold=0.5)
    """
    return Results(folder, threshold, third_state, incorrect_threshold, **rules)


@lru_cache(maxsize=1)
def _model() -> Model:
    return Model()


def _read(image: Image) -> np.ndarray:
    """Return an image as an array; a path is read as a scan reads it. Raises DecodeError and ValueError."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        return image
    with open_source(Source(0, Path(image), Path(image).name, "image"), SamplingSettings()) as reader:
        return next(iter(reader)).image


def _of_row(faces: Faces, row: int) -> Faces:
    """Return the faces of one image of a batch, their `row` set to 0."""
    chosen = faces.take(faces.row == row)
    return replace(chosen, row=np.zeros_like(chosen.row))
