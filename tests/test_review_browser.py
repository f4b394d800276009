import socket
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from browsers import browser, watched
from makers import moving, write_video
from stores import Face, File, fill, video

from maskbatch.review.guard import Guard
from maskbatch.review.server import make_app
from maskbatch.review.session import Wanted, prepared
from maskbatch.run.threshold import Asked
from maskbatch.store.database import open_store
from maskbatch.store.review import verdicts
from maskbatch.store.write import begin_session

FACTS = {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}}
NUM_PHOTOS = 6


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests of this file; each has a profile of its own in it."""
    with browser() as opened:
        yield opened


@pytest.fixture
def review(chromium, tmp_path):
    """A review of six photos and a video that is served; its store, and a page that has entered it."""
    uvicorn = pytest.importorskip("uvicorn")
    names = [f"{number}.png" for number in range(NUM_PHOTOS)]
    with open_store(tmp_path) as store:
        begin_session(store, {}, FACTS)
        faces = [Face(name, p_mask=0.02) for name in names] + [Face("v.mp4", frame, 0, 0.98) for frame in range(40)]
        fill(store, [*map(File, names), video("v.mp4")], faces)
        write_video(tmp_path / "v.mp4", moving(60, 640, 480))
        with store.transaction() as connection:
            for name in [*names, "v.mp4"]:
                connection.execute("UPDATE source SET path = ? WHERE name = ?", [str(tmp_path / name), name])
        for number, name in enumerate(names):
            cv2.imwrite(str(tmp_path / name), np.full((480, 640, 3), 30 * number, np.uint8))
        reviewing = prepared(store, Wanted("ann"), Asked())
        config = uvicorn.Config(None, port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            guard = Guard([address])
            config.app = make_app(reviewing, tmp_path, guard)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            while not server.started:
                time.sleep(0.01)
            page = chromium.new_page(viewport={"width": 1280, "height": 800})
            page.complaints, _ = watched(page)
            page.goto(f"http://{address}/?token={guard.token}")
            page.wait_for_selector("#picture[data-number]")
            yield store, page
            page.close()
            server.should_exit = True
            thread.join()


def shown(page):
    return page.evaluate("document.querySelector('#picture').dataset.number")


def press(page, key):
    """Press a key that leads to another picture, and wait for that."""
    before = shown(page)
    page.keyboard.press(key)
    for _ in range(500):
        if shown(page) != before:
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"no other picture after {key}")


def stored(store, number):
    """The verdicts in the store, once there are so many."""
    for _ in range(500):
        with store.transaction() as connection:
            found = [one.verdict for one in verdicts(connection)]
        if len(found) == number:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def test_one_key_is_a_verdict_and_the_next_picture_comes(review):
    """Each verdict is stored as it is given; back and undo lead back; nothing is complained about."""
    store, page = review
    first = shown(page)
    press(page, "b")
    press(page, "m")
    assert stored(store, 2) == ["without_mask", "with_mask"]
    press(page, "z")
    assert stored(store, 1) == ["without_mask"]
    press(page, "ArrowLeft")
    assert shown(page) == first
    assert page.locator("button[aria-pressed=true]").inner_text().endswith("without a mask")
    assert page.inner_text("#progress").startswith(f"1 of {NUM_PHOTOS + 1} reviewed by ann")
    assert page.complaints == []


def test_the_whole_frame_shows_the_box(review):
    """F shows the whole photo with a box around the face, and again the face alone."""
    _, page = review
    page.keyboard.press("f")
    page.wait_for_selector("#box:not([hidden])")
    box, picture = page.locator("#box").bounding_box(), page.locator("#picture").bounding_box()
    assert picture["x"] <= box["x"] and box["width"] < 0.1 * picture["width"]
    page.keyboard.press("f")
    page.wait_for_selector("#box", state="hidden")


def test_filters_choose_what_is_shown(review):
    """Only masked people are left with that filter; when they are done, the page says that nothing is left."""
    store, page = review
    page.select_option("#state", "with_mask")
    assert page.inner_text("#facts").count("v.mp4") == 1
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("u")
    assert stored(store, 1) == ["unsure"]
    assert page.inner_text("#message") == "Nothing left with these filters."


def test_keys_give_verdicts_after_a_filter_was_chosen_with_the_mouse(review):
    """The menu gives the keyboard back to the page, and so does a number that ends with Enter."""
    store, page = review
    page.focus("#state")
    page.dispatch_event("#state", "pointerdown")
    page.select_option("#state", "without_mask")
    page.keyboard.press("u")
    assert stored(store, 1) == ["unsure"]
    page.fill("#high", "90")
    page.keyboard.press("Enter")
    page.keyboard.press("b")
    assert stored(store, 2) == ["unsure", "without_mask"]


def test_the_page_says_how_a_review_ends(review):
    """When everybody has a verdict, the page names Ctrl-C, which writes the tables."""
    store, page = review
    for number in range(NUM_PHOTOS + 1):
        page.keyboard.press("m")
        stored(store, number + 1)
    assert page.inner_text("#message") == "Everything is reviewed. Ctrl-C in the terminal ends the review."


def test_only_a_video_can_be_played(review):
    """The button is out of use at a photo, and in use at a video."""
    _, page = review
    assert page.locator("#play").is_disabled()
    page.select_option("#state", "with_mask")
    assert page.locator("#play").is_enabled()


def test_space_plays_around_the_look(review):
    """A video plays from a second before the look, by ranges of the file."""
    _, page = review
    page.select_option("#state", "with_mask")
    page.evaluate("document.activeElement.blur()")
    with page.expect_response(lambda answer: "/video/" in answer.url) as answered:
        page.keyboard.press(" ")
    assert answered.value.status == 206
    assert page.locator("#video").is_visible()
    page.keyboard.press(" ")
    assert not page.locator("#video").is_visible()


def test_a_picture_that_is_gone_is_said(review):
    """When the input was moved, the page says so and goes on to the next."""
    store, page = review
    with store.transaction() as connection:
        folder = Path(connection.execute("SELECT path FROM source WHERE name = '0.png'").fetchone()[0]).parent
    for path in folder.glob("*.png"):
        path.unlink()
    for _ in range(NUM_PHOTOS):  # the first ones were fetched already
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#error:not([hidden])")
    assert "cannot be read" in page.inner_text("#error")
