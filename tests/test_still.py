"""One frame of a video by its time."""

import makers
import numpy as np
import pytest

from maskbatch.errors import DecodeError
from maskbatch.media.video import still
from maskbatch.media.video.still import frame_at


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Forty seconds with one keyframe, at 25 frames a second; each second four grey values lighter than the last."""
    frames = [np.full((48, 64, 3), 20 + 4 * (number // 25), np.uint8) for number in range(1000)]
    options = {"g": "9999", "x264-params": "scenecut=0"}
    path = tmp_path_factory.mktemp("still") / "v.mp4"
    return makers.write_video(path, frames, makers.Clip(options=options))


@pytest.mark.parametrize("second", [0, 3, 23, 24, 30, 39])
def test_a_frame_far_from_its_keyframe_is_the_right_one(video, second):
    """However many frames lie between."""
    assert abs(frame_at(video, second + 0.5).mean() - (20 + 4 * second)) < 2


def test_no_frame_is_better_than_another_one(video, monkeypatch):
    """Where the keyframe is too far away, there is a reason and no picture."""
    monkeypatch.setattr(still, "_MOST_FRAMES", 300)
    assert abs(frame_at(video, 11.5).mean() - 64) < 2
    with pytest.raises(DecodeError, match="301 frames away"):
        frame_at(video, 13.5)
