import numpy as np
import pytest

from maskbatch.analyse.cuts import compare
from maskbatch.analyse.gate import Gate
from maskbatch.settings import CANDIDATES_PER_S

SIZE = (90, 160)


def scene(seed=0):
    """A still scene (H, W) float: smooth shapes with contrast."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(40, 200, (9, 16)), np.ones((10, 10)))


def looks(pictures, gate=None):
    """The numbers of the candidates that are looked at, six a second."""
    gate = gate or Gate()
    return [
        at
        for at, picture in enumerate(pictures)
        if gate(np.clip(picture, 0, 255).astype(np.uint8), at / CANDIDATES_PER_S)
    ]


def camera(num, noise=1.0, seed=1):
    """Candidates of a still scene with the noise of a camera."""
    rng = np.random.default_rng(seed)
    return [scene() + rng.normal(0, noise, SIZE) for _ in range(num)]


def rate(pictures):
    """Share of the candidates looked at, after the first two seconds."""
    return len([at for at in looks(pictures) if at >= 12]) / (len(pictures) - 12)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.5, 4.0])
def test_a_still_scene_is_looked_at_every_two_seconds(noise):
    """However noisy the camera is, after the first seconds in which its noise is learned."""
    found = [at for at in looks(camera(120, noise)) if at >= 24]
    assert np.diff(found).min() >= 11 and np.diff(found).max() <= 13


def test_somebody_of_two_cells_wakes_the_gate():
    """A face of two cells across that comes into a dark scene, and every candidate as long as it moves and 1.5 s more."""
    pictures = camera(120)
    for at in range(60, 72):
        pictures[at][40:42, at : at + 2] += 60
    found = looks(pictures)
    assert set(range(60, 81)) <= set(found)
    assert len([at for at in found if at >= 84]) <= 4


def test_a_slow_movement_adds_up():
    """A shadow that grows by one grey value a candidate is noticed against the last frame that was looked at."""
    pictures = camera(96, 0.3)
    for at in range(48, 96):
        pictures[at][20:60, 30:60] += 1.2 * (at - 48)
    assert len([at for at in looks(pictures) if 50 <= at < 72]) > 6


def test_light_that_is_switched_on_is_looked_at_once():
    """The change itself wakes the gate; the scene in other light is still again."""
    pictures = camera(120)
    pictures[60:] = [picture * 0.6 + 5 for picture in pictures[60:]]
    found = looks(pictures)
    assert 60 in found and len([at for at in found if at >= 78]) <= 4


def test_dusk_is_no_movement():
    """Light that fades evenly over a minute costs no more looks than a still scene."""
    pictures = [picture - 0.1 * at for at, picture in enumerate(camera(360, 0.5))]
    assert rate(pictures) < 0.15


def test_a_clock_in_the_picture_becomes_noise():
    """Digits that change every second wake the gate at first; then their cells are noise, and a face is seen elsewhere."""
    rng, pictures = np.random.default_rng(3), camera(600)
    for at, picture in enumerate(pictures):
        picture[2:5, 2:20] = 40 + 170 * (np.random.default_rng(at // 6).random((3, 18)) > 0.5)
    late = [at for at in looks(pictures) if at >= 300]
    assert len(late) < 0.5 * 300
    for at in range(500, 512):
        pictures[at][50:54, 80:84] += 70 + rng.normal(0, 1)
    assert {500, 501, 508} <= set(looks(pictures))


def test_rain_wakes_nobody():
    """Streaks all over the picture, faint in the mean of a cell, wake nobody."""
    rng, pictures = np.random.default_rng(4), camera(360)
    for picture in pictures:
        for _ in range(40):
            y, x = rng.integers(0, 80), rng.integers(0, 160)
            picture[y : y + 8, x] += 4
    late = [at for at in looks(pictures) if at >= 120]
    assert len(late) < 0.35 * 240


def test_the_same_candidates_give_the_same_looks_and_restart_forgets():
    """A segment that is continued elsewhere is looked at alike: after `restart` nothing of before counts."""
    pictures = camera(90)
    gate = Gate()
    looks(camera(50, 6.0, 9), gate)
    gate.restart()
    assert looks(pictures, gate) == looks(pictures)


def test_the_first_candidate_and_one_of_another_size_are_looked_at():
    """There is nothing to compare them with."""
    gate = Gate()
    assert gate(np.zeros((5, 8), np.uint8), 0.0)
    for at in range(1, 30):
        gate(np.zeros((5, 8), np.uint8), at / 6)
    assert gate(np.zeros((9, 8), np.uint8), 29.2 / 6)


def test_a_mask_taken_off_wakes_the_gate_though_the_face_sways():
    """Somebody who sways for minutes becomes noise; what changes more than the swaying did is seen at once."""
    pictures = camera(600)
    for at, picture in enumerate(pictures):
        x = 70 + int(4 * np.sin(at))
        picture[40:60, x : x + 12] = np.linspace(60, 200, 12)
        if at >= 480:
            picture[50:60, x : x + 12] = np.linspace(200, 60, 12)
    found = looks(pictures)
    assert len([at for at in found if 360 <= at < 480]) <= 12
    assert set(range(481, 490)) <= set(found)


@pytest.mark.parametrize("wait", [12, 60, 240])
def test_a_busy_door_is_forgotten(wait):
    """After a minute of a crowd at a door, one person of little contrast is followed there, two seconds later already."""
    rng, pictures = np.random.default_rng(7), camera(360 + wait + 36)
    for picture in pictures[:360]:
        picture[30:60, 60:90] = np.kron(rng.uniform(30, 220, (5, 5)), np.ones((6, 6)))
    clothes = np.kron(np.random.default_rng(1).uniform(90, 140, (4, 2)), np.ones((6, 5)))
    for at, picture in enumerate(pictures[360 + wait :]):
        picture[34:58, 64 + at // 2 : 74 + at // 2] = clothes
    assert len([at for at in looks(pictures) if at >= 360 + wait]) >= 30


def rainy(num):
    """Candidates with streaks that stand out from the noise, in another place each time."""
    rng, pictures = np.random.default_rng(7), camera(num)
    for picture in pictures:
        for _ in range(60):
            y, x = rng.integers(0, 80), rng.integers(0, 160)
            picture[y : y + 8, x] += 12
    return pictures


def test_heavy_rain_is_learned_and_people_in_it_are_seen():
    """Streaks that change cells everywhere wake few candidates after a while; somebody who comes is looked at at once."""
    pictures = rainy(480)
    assert len([at for at in looks(pictures) if at >= 240]) < 0.35 * 240
    pictures = rainy(480)
    for at in range(400, 420):
        pictures[at][30:50, 20 + at - 400 : 35 + at - 400] -= 70
    assert set(range(401, 412)) <= set(looks(pictures))


def test_lamps_that_go_off_are_no_cut():
    """A colourful scene in dim light, in which most colours pale, goes on, and the camera stands still; another scene
    in the same light is a cut."""
    day, other = (np.random.default_rng(seed).normal((120, 128, 128), (45, 30, 30), (18, 32, 3)) for seed in (5, 8))
    dim = (day - (0, 128, 128)) * 0.4 + (0, 128, 128)
    day, dim, other = (np.clip(one, 0, 255).astype(np.uint8) for one in (day, dim, other))
    assert compare(day, dim) == (False, True) and compare(dim, day) == (False, True)
    assert compare(day, other)[0] is True
