"""Estimate the time of a scan by analysing a few of its frames with the real networks."""

import time
from collections.abc import Sequence
from contextlib import closing

from maskbatch.analyse.pipeline import Stages, analyse
from maskbatch.analyse.tracker import Tracker
from maskbatch.media.decode import open_source
from maskbatch.media.guard.limits import TimeLimitedReader
from maskbatch.media.loader import load
from maskbatch.overlap import never
from maskbatch.run.progress import num_analysed
from maskbatch.run.stages import classified_score, open_networks, settings_for, sparing_for
from maskbatch.settings import LoaderSettings, SamplingSettings, ScanSettings
from maskbatch.types import Source

_TRIAL_S = 1.5  # for photos, and again for videos
_NUM_PHOTOS = 64
_LOADER = LoaderSettings(batch_size=4, num_parallel=2, prefetch=4)


def trial_estimate(sources: Sequence[Source], settings: ScanSettings) -> float | None:
    """Estimate the seconds that the analysis of `sources` takes; None when no frame can be read.

    The trial reads some photos from all parts of the list, and the beginning of the longest video. It takes at most 3
    seconds, plus the time to open the networks. Raises DeviceError, UsageError and WeightsError.
    """
    photos = [source for source in sources if source.kind == "image"]
    videos = sorted(
        (source for source in sources if source.kind == "video"), key=lambda video: -(video.duration_s or 0)
    )
    seconds = 0.0
    for chosen, all_of_kind in ((photos[:: max(1, len(photos) // _NUM_PHOTOS)], photos), (videos[:1], videos)):
        if all_of_kind:
            rate = _frames_per_s(chosen, settings)
            if rate is None:
                return None
            seconds += sum(num_analysed(source, settings.sampling) for source in all_of_kind) / rate
    return seconds


def _frames_per_s(sources: Sequence[Source], settings: ScanSettings) -> float | None:
    """Analyse frames for a moment, and return the analysed frames per second; None without such a frame.

    The first batch warms up the networks, and counts only if there is no other batch.
    """
    for_kind, sure_score = settings_for(sources[0].kind, settings), settings.detector.threshold
    networks = open_networks(for_kind)
    tracker = Tracker(settings.tracker, sure_score)
    classify = networks.classifier(never)
    stages = Stages(
        networks.detector(never), classify, tracker, tracker.state, tracker.persons, sure_score=sure_score,
        classified_score=classified_score(for_kind), sparing=sparing_for(sources[0].kind, classify, settings),
        with_appearance=sources[0].kind == "video",
    )  # fmt: skip

    def opener(source: Source, sampling: SamplingSettings) -> TimeLimitedReader:
        return TimeLimitedReader(open_source(source, sampling), _TRIAL_S)

    begin = start = time.monotonic()
    first = frames = 0
    with (
        closing(load(sources, settings.sampling, _LOADER, opener)) as loading,
        closing(analyse(loading, stages)) as found,
    ):
        for batch in found:
            if not first:
                first, start = batch.frames.num_looked_at, time.monotonic()
                continue
            frames += batch.frames.num_looked_at
            if time.monotonic() - begin > _TRIAL_S:
                break
    now = time.monotonic()
    if frames:
        return frames / max(now - start, 1e-6)
    return first / max(now - begin, 1e-6) if first else None
