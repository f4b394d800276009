import base64
import hashlib
import re
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
from stores import Face, File, fill, video

from maskbatch.media.walk import NotLookedAt
from maskbatch.people.looks import REASONS
from maskbatch.people.reviewed import REVIEWED
from maskbatch.reports.page import words
from maskbatch.reports.page.view import address
from maskbatch.reports.tables import write_reports
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.write import begin_session

HOSTILE = ["<script>alert(1)</script>.jpg", "\"onerror='x'.jpg", "a\u202egpj.exe", "{{ 7 * 7 }}.jpg", "]]>&lt;b.jpg"]


@pytest.fixture
def store(tmp_path):
    """An empty store in `tmp_path`."""
    with open_store(tmp_path) as opened:
        yield opened


class Page(HTMLParser):
    """The elements of a page: (name, attributes), and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self._inside = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.text += " " + data

    @property
    def words(self):
        return " ".join(self.text.split())


def page_of(store, settings=ReportSettings()):  # noqa: B008
    write_reports(store, settings)
    return (store.folder / "report.html").read_text(encoding="utf-8")


def test_the_first_sentence_is_the_answer(store):
    """Share, denominator and interval come first, and what could not be read before the people."""
    files = [File(f"{number}.jpg") for number in range(6)] + [
        File("broken.jpg", error="no JPEG", decoded=0, analysed=0)
    ]
    fill(store, files, [Face(f"{number}.jpg", p_mask=0.02 if number < 2 else 0.98) for number in range(6)])
    text = Page(page_of(store)).words
    assert "66.7 % of 6 people wore a mask (95 % interval" in text
    order = [text.index(part) for part in ("66.7 %", "1 file of 7 could not be read at all", "Longest first")]
    assert order == sorted(order)


def test_a_scan_of_nobody_says_so(store):
    """Without a face there is no rate, and no division by zero."""
    fill(store, [File("a.jpg")])
    assert "Nobody could be judged in 1 file." in Page(page_of(store)).words


def test_people_without_a_mask_come_longest_first_with_a_link_to_the_second(store):
    """The order is that of the time without a mask; unsure people have a section of their own with the reason."""
    faces = [Face("v.mp4", frame, 0, 0.02) for frame in range(60)]
    faces += [Face("v.mp4", frame, 1, 0.02, face=1) for frame in range(200)]
    faces += [Face("v.mp4", frame, 2, 0.5, face=2, x_min=-30) for frame in range(100)]
    fill(store, [video("v.mp4")], faces)
    text = Page(page_of(store)).words
    without = text[
        text.index("Longest first") : text.index("People who could not be judged", text.index("Longest first"))
    ]
    assert without.index("Person 1") < without.index("Person 0")
    assert "the probabilities lie in between" in text


def test_one_look_in_a_video_has_its_second(store):
    """A person with one look in a video is shown with the time in the file; in a photo there is none."""
    fill(store, [video("v.mp4", analysed=3), File("a.jpg")], [Face("v.mp4", 100, 0, 0.02), Face("a.jpg", p_mask=0.02)])
    text = Page(page_of(store)).words
    assert text.count("one look") == 2 and text.count("0:00:03 in the file") == 1


def test_the_page_says_how_many_places_are_left_out(store):
    """The charts show forty places; below each stands the number of the others, if there are some."""
    names = [f"camera{number:02d}/2026-11-20_10-00-00.mp4" for number in range(43)]
    fill(store, [video(name) for name in names], [Face(name, frame, 0) for name in names for frame in range(30)])
    text = Page(page_of(store, ReportSettings(timezone="UTC"))).words
    assert text.count("Not shown: 3 more places") == 2
    fill(store, [video(name) for name in names[:40]], [])
    assert "Not shown" not in Page(page_of(store)).words


def test_the_page_says_all_that_was_not_looked_at(store):
    """The page has the same remarks as the command: kinds, hidden entries, folders of systems and unreadable folders."""
    left_out = NotLookedAt(2, {"@eaDir": 3}, {".txt": 4}, ("a/locked",))
    begin_session(store, {}, {"not_looked_at": asdict(left_out)})
    fill(store, [File("a.jpg")], [Face("a.jpg")])
    text = Page(page_of(store)).words
    assert "Not looked at: 4 .txt." in text and "3 @eaDir" in text and "a/locked: cannot be read" in text


def test_a_package_that_is_missing_is_said_in_words(store):
    """The list of packages has versions, and "not installed" for an optional package that is missing."""
    begin_session(store, {}, {"packages": {"numpy": "2.4.6", "pillow-heif": None}})
    fill(store, [File("a.jpg")], [Face("a.jpg")])
    assert "numpy 2.4.6, pillow-heif not installed" in Page(page_of(store)).words


def test_the_page_says_whose_clock_is_in_doubt(store):
    """A recording whose time is ambiguous is not assessed by the clock, and the page says so with the reason."""
    names = ["2026-10-25_02-30-00.mp4", "2026-10-25_02-40-00.mp4", "2026-10-26_02-30-00.mp4"]
    fill(store, [video(name) for name in names], [])
    text = Page(page_of(store, ReportSettings(timezone="Europe/Berlin"))).words
    assert "The time of 2 files is in doubt (clock set back: ambiguous)." in text


def test_an_unsure_person_has_the_time_in_view(store):
    """The card of a person who was masked, and then briefly bare, has the seconds in view, not those in doubt."""
    frames = range(0, 100, 4)
    fill(store, [video("a.mp4")], [Face("a.mp4", at, 0, 0.98 if at < 80 else 0.02) for at in frames])
    text = Page(page_of(store)).words
    assert "3.3 s; a state was seen too briefly; the state changed" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_change_nothing_in_the_page(store, name):
    """A name is text: it adds no element, no attribute and no writing direction, and is not run as a template."""
    fill(store, [File(name), File("z.jpg", error=name, decoded=0, analysed=0)], [Face(name, p_mask=0.01)])
    text = page_of(store)
    plain = Page(text)
    assert sum(tag == "script" for tag, _ in plain.elements) == 1
    assert not any(attribute.startswith("on") for _, attributes in plain.elements for attribute in attributes)
    assert "\u202e" not in text and "49.jpg" not in text
    assert name.replace("\u202e", "\\u202e") in plain.text


def test_the_policy_allows_the_pages_own_style_and_script_only(store):
    """The checksums in the policy are those of the inline style and script; nothing points out of the folder."""
    fill(store, [File("a.jpg")], [Face("a.jpg")])
    text = page_of(store)
    [policy] = [attributes["content"] for tag, attributes in Page(text).elements
                if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        [inner] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        checksum = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{checksum}'" in policy
    assert not re.search(r"(src|href)=\"(?!#|evidence/|annotated/)", text)


def test_addresses_of_odd_names_lead_to_the_file():
    """Characters with a meaning in addresses, and bytes that are not UTF-8, are escaped."""
    assert address("evidence/a#1 ü%.jpg") == "evidence/a%231%20%C3%BC%25.jpg"
    assert address("annotated/\udce9.mp4", 2.0) == "annotated/%E9.mp4#t=2.0"
    assert address("") == ""


def test_inline_pictures_are_part_of_the_page(store):
    """With `is_inline` the page holds the bytes of evidence; a picture that is gone stays a link."""
    from maskbatch.store.write import add_results
    from maskbatch.types import SegmentResult

    fill(store, [File("a.jpg"), File("b.jpg")], [Face("a.jpg"), Face("b.jpg")])
    with store.transaction() as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM source ORDER BY id")]
    add_results(store, [SegmentResult(evidence=tuple((one, 0, 0) for one in ids))])
    (store.folder / "evidence").mkdir()
    (store.folder / "evidence/a.jpg_f000000_0.jpg").write_bytes(b"picture")
    text = page_of(store, ReportSettings(is_inline=True))
    assert "data:image/jpeg;base64," + base64.b64encode(b"picture").decode() in text
    assert 'src="evidence/b.jpg_f000000_0.jpg"' in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min"), (7325, "2 h 02 min")],
)
def test_durations_round_to_what_is_shown(seconds, shown):
    """No duration reads as 60 s or 60 min."""
    assert words.duration(seconds) == shown


def test_moments_have_their_offset():
    """A clock keeps its offset; without one the time within the file is shown."""
    assert words.moment("2026-11-20T22:00:04.500+01:00", 3.0) == "2026-11-20 22:00:04 +01:00"
    assert words.moment("2026-11-20T22:00:04.5-05:00", 3.0) == "2026-11-20 22:00:04 -05:00"
    assert words.moment("", 3725.0) == "1:02:05 in the file"


def test_each_reason_has_words():
    """All reasons why a person is unsure are sentences on the page, also that of a reviewer."""
    assert {*REASONS, "in between", "brief", REVIEWED} == set(words.REASON_WORDS)
