import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import makers
import numpy as np
import pytest
from click.testing import CliRunner
from stores import Face, File, begun, end, fill, video

from maskbatch.cli.main import main
from maskbatch.errors import UsageError
from maskbatch.people.answer import find_answer
from maskbatch.reports.people import people_table
from maskbatch.reports.sampled import sampled_answer
from maskbatch.review.guard import Guard
from maskbatch.review.sampling import draw_sample, strata_of
from maskbatch.review.server import make_app
from maskbatch.review.session import Wanted, agreement_lines, prepared, write_dataset
from maskbatch.run.threshold import Asked
from maskbatch.settings import ReportSettings
from maskbatch.store.database import open_store
from maskbatch.store.review import last_sample, undo_last, verdicts
from maskbatch.store.write import begin_session, forget, open_sources

FACTS = {"settings": {"classifier": {"threshold": 0.5, "incorrect_threshold": None}}}


@pytest.fixture
def store(tmp_path):
    """A store with a session, in `tmp_path`."""
    with open_store(tmp_path) as opened:
        begin_session(opened, {}, FACTS)
        yield opened


def with_people(store, p_masks):
    """A photo for each of these probabilities."""
    names = [f"{number:03d}.jpg" for number in range(len(p_masks))]
    fill(store, [File(name) for name in names], [Face(name, p_mask=p) for name, p in zip(names, p_masks, strict=True)])


def answer_of(store):
    with store.transaction() as connection:
        return find_answer(connection, ReportSettings())


def reviewing(store, reviewer="ann", **wanted):
    return prepared(store, Wanted(reviewer, **wanted), Asked())


def test_people_come_by_verdict_the_largest_face_first(store):
    """People without a mask come first, then unsure ones, then the masked."""
    files = [File("a.jpg"), File("b.jpg"), File("c.jpg"), File("d.jpg")]
    fill(store, files, [Face("a.jpg", p_mask=0.99), Face("b.jpg", p_mask=0.5), Face("c.jpg", p_mask=0.01),
                        Face("d.jpg", p_mask=0.01, x_min=-80)])  # fmt: skip
    items = reviewing(store).items
    assert [item.name for item in items] == ["d.jpg", "c.jpg", "b.jpg", "a.jpg"]
    assert [item.number for item in items] == [0, 1, 2, 3]


def test_a_verdict_changes_person_files_and_rate(store):
    """What the reviewer says is the verdict; what the model had said stays beside it."""
    with_people(store, [0.01] * 3 + [0.99] * 3)
    review = reviewing(store)
    review.judge(0, "with_mask")
    review.judge(1, "not_a_face")
    table = people_table(answer_of(store)).set_index("source")
    assert table.loc["000.jpg", ["verdict", "model_verdict", "reviewed"]].tolist() == [
        "with_mask",
        "without_mask",
        "with_mask",
    ]
    assert table.loc["001.jpg", "flags"] == "not_a_face"
    assert answer_of(store).counts.sum() == 5


def test_episodes_follow_the_verdict(store):
    """The episodes in the worst state get the reviewer's state; all others stay."""
    faces = [Face("v", frame, 0, 0.97 if frame < 60 else 0.03) for frame in range(0, 150)]
    fill(store, [video("v")], faces)
    before = answer_of(store)
    assert before.episodes.state.tolist() == [0, 1]
    reviewing(store).judge(0, "incorrect_mask")
    after = answer_of(store)
    assert after.episodes.state.tolist() == [0, 2]
    assert after.persons.seconds.sum() == before.persons.seconds.sum()
    assert after.persons.seconds[0, 2] == before.persons.seconds[0, 1] and after.persons.seconds[0, 1] == 0


@pytest.mark.parametrize("verdict", ["with_mask", "without_mask", "incorrect_mask", "unsure"])
def test_a_verdict_gives_one_answer_under_all_rules(store, verdict):
    """Masked for 3 s, unsure for 3 s and bare for 3.4 s: the answer is the same with --min-bare 1 and 5."""
    p_masks = [0.97] * 90 + [0.5] * 90 + [0.03] * 102
    fill(store, [video("v")], [Face("v", frame, 0, p) for frame, p in enumerate(p_masks)])
    reviewing(store).judge(0, verdict)
    found = []
    for min_bare_s in (1.0, 5.0):
        with store.transaction() as connection:
            answer = find_answer(connection, ReportSettings(min_bare_s=min_bare_s))
        persons = answer.persons
        found.append((persons.verdict.tolist(), persons.seconds.tolist(), persons.changed.tolist(),
                      persons.reason.tolist(), answer.episodes.state.tolist(), answer.episodes.reason.tolist()))  # fmt: skip
    assert found[0] == found[1]
    assert (found[0][1][0][1] == 0) == (verdict != "without_mask")


def test_undo_takes_back_the_last_verdict_of_this_reviewer_only(store):
    """Undone verdicts no longer count, and the row that says so stays in the store."""
    with_people(store, [0.01, 0.02])
    ann, bob = reviewing(store), reviewing(store, "bob")
    ann.judge(0, "with_mask")
    bob.judge(1, "with_mask")
    assert ann.undo() == 0 and ann.undo() is None
    assert [one.reviewer for one in verdicts_in(store)] == ["bob"]
    with store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM review").fetchone() == (2,)
    assert undo_last(store, "nobody") is None


def verdicts_in(store):
    with store.transaction() as connection:
        return verdicts(connection)


def test_a_file_that_is_scanned_again_loses_no_verdict_and_applies_none(store):
    """A verdict on a look that is gone is kept in the store, and changes nothing."""
    with_people(store, [0.01])
    review = reviewing(store)
    review.judge(0, "with_mask")
    forget(store, [review.items[0].source_id])
    assert verdicts_in(store) == []
    with store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM review").fetchone() == (1,)


@pytest.mark.parametrize(("content", "num_left"), [(b"other", 0), (b"same", 1)])
def test_verdicts_end_with_the_content_that_they_are_about(store, tmp_path, content, num_left):
    """A file with other content has none of the verdicts on the people before, who have the same numbers; rows stay."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"same")
    scan_one(store, path)
    reviewing(store).judge(0, "with_mask")
    if content != b"same":
        path.write_bytes(content)
    scan_one(store, path)
    assert len(verdicts_in(store)) == num_left
    assert answer_of(store).reviewed.tolist() == ["with_mask" if num_left else ""]
    with store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM review").fetchone() == (1,)


@pytest.mark.parametrize(("content", "num_left"), [(b"other", 0), (b"same", 1)])
def test_a_sample_has_nobody_of_a_file_that_was_replaced(store, tmp_path, content, num_left):
    """People of the earlier content leave the sample: whoever has their numbers now was never drawn."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"same")
    scan_one(store, path)
    reviewing(store, num_items=5)
    if content != b"same":
        path.write_bytes(content)
    scan_one(store, path)
    with store.transaction() as connection:
        sample = last_sample(connection)
    assert len(sample.items) == num_left and sample.strata == [("without_mask, sure", 1)]


def scan_one(store, path):
    """The photo is scanned, again if it was before, and shows one person."""
    sources = begun(store, [File("a.jpg")])
    source = replace(sources["a.jpg"], path=path)
    forget(store, [source.id])
    open_sources(store, 1, [source])
    end(store, sources, [File("a.jpg")], [Face("a.jpg", p_mask=0.01)])


@pytest.mark.parametrize(("number", "verdict"), [(0, "violator"), (0, "nobody"), (5, "with_mask"), (-1, "with_mask")])
def test_verdicts_that_do_not_exist_are_refused(store, number, verdict):
    """Neither an unknown verdict, nor that of a moment on a person, nor an item that is not there is stored."""
    with_people(store, [0.01])
    with pytest.raises((ValueError, IndexError)):
        reviewing(store).judge(number, verdict)
    assert verdicts_in(store) == []


def test_a_sample_has_known_strata_and_moments(store):
    """Strata add up to everybody; uncertain people get more looks for their number; moments without a face are drawn."""
    rng = np.random.default_rng(0)
    p_masks = [*(0.99 - 0.01 * rng.random(300)), *(0.01 * rng.random(60)), *(0.2 + 0.6 * rng.random(40))]
    names = [f"{number:03d}.jpg" for number in range(400)]
    files = [*map(File, names), *(File(f"empty{number}.jpg") for number in range(30)), video("v", duration_s=100.0)]
    fill(store, files, [Face(name, p_mask=float(p)) for name, p in zip(names, p_masks, strict=True)])
    with store.transaction() as connection:
        answer = find_answer(connection, ReportSettings())
        sample = draw_sample(connection, answer, 100)
        assert sample == draw_sample(connection, answer, 100)
        assert [one for one in draw_sample(connection, answer, 100, seed=1).items] != sample.items
    assert sum(map(len, strata_of(answer).values())) == 400 == sum(size for _, size in sample.strata[:-2])
    assert (
        dict(sample.strata)["photos without a face"] == 30
        and dict(sample.strata)["seconds of video without a face"] == 100
    )
    people = [item for item in sample.items if item.person_id is not None]
    assert len(people) == len(set(people)) and 85 <= len(people) <= 100
    drawn = Counter(sample.strata[item.stratum][0] for item in people)
    share = {name: drawn[name] / size for name, size in sample.strata[:-2]}
    assert share["with_mask, sure"] < min(value for name, value in share.items() if "uncertain" in name)


@pytest.mark.parametrize("number", [5, 6, 10, 19, 40, 63])
def test_a_sample_has_no_more_items_than_asked_for(store, number):
    """Also when there are many strata; everybody is in a stratum, from each of which somebody is drawn."""
    rng = np.random.default_rng(1)
    with_people(store, list(np.concatenate([rng.random(150), 0.02 * rng.random(50), 1 - 0.02 * rng.random(100)])))
    with store.transaction() as connection:
        answer = find_answer(connection, ReportSettings())
        sample = draw_sample(connection, answer, number)
    assert len(strata_of(answer)) > 4 and number - 1 <= len(sample.items) <= number
    assert sum(size for _, size in sample.strata) == 300
    assert {item.stratum for item in sample.items} == set(range(len(sample.strata)))


def test_moments_are_drawn_from_what_was_read(store):
    """A broken video has as many seconds as frames were decoded, whatever its container claims; faces end with them."""
    broken = video("v", decoded=300, duration_s=3600.0, error="the file is cut off")
    fill(store, [broken], [Face("v", frame) for frame in range(60, 90)])
    with store.transaction() as connection:
        sample = draw_sample(connection, find_answer(connection, ReportSettings()), 80)
    assert dict(sample.strata)["seconds of video without a face"] == 9
    moments = sorted(item.time_e4 for item in sample.items if item.person_id is None)
    assert len(moments) == 8 and moments[-1] < 100_000 and 25_000 not in moments


def test_a_small_scan_is_sampled_whole(store):
    """Where there are fewer people than looks, everybody is in the sample once."""
    with_people(store, [0.01, 0.5, 0.99])
    items = reviewing(store, num_items=50).items
    assert sorted(item.name for item in items) == ["000.jpg", "001.jpg", "002.jpg"]


def test_the_same_sample_is_continued(store):
    """Asking for the sample again goes on where the review stopped; another seed draws a new one."""
    with_people(store, list(np.linspace(0.01, 0.99, 40)))
    first = reviewing(store, num_items=10)
    first.judge(0, "with_mask")
    again = reviewing(store, num_items=10)
    assert again.items == first.items and again.said() == {0: "with_mask"}
    with store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM sample").fetchone() == (1,)
    reviewing(store, num_items=10, seed=4)
    with store.transaction() as connection:
        assert last_sample(connection).seed == 4


def test_the_review_says_when_the_interval_is_narrow(store):
    """With a precision, the estimate tells when the review may stop; somebody in a moment counts as missed."""
    rng = np.random.default_rng(2)
    names = [f"{number:03d}.jpg" for number in range(200)]
    p_masks = np.where(rng.random(200) < 0.8, 0.98, 0.02)
    fill(store, [*map(File, names), File("empty.jpg")],
         [Face(name, p_mask=float(p)) for name, p in zip(names, p_masks, strict=True)])  # fmt: skip
    review = reviewing(store, num_items=120, precision=0.05)
    assert not review.estimate().is_narrow(review.precision)
    for item in review.items:
        review.judge(item.number, "somebody" if item.person_id is None else item.state)
    found = review.estimate()
    assert found.is_narrow(0.05) and found.rate.low < (p_masks > 0.5).mean() < found.rate.high
    assert (found.missed.value, found.missed.denominator) == (1.0, 1)
    answer = answer_of(store)
    with store.transaction() as connection:
        assert sampled_answer(answer, last_sample(connection), verdicts(connection)).rate == found.rate


def test_reviewers_who_differ_are_settled(store, tmp_path):
    """Agreement names the people on whom two differ, and only these are shown to settle; the last verdict counts."""
    with_people(store, [0.01, 0.02, 0.03])
    ann, bob = reviewing(store), reviewing(store, "bob")
    for number in range(3):
        ann.judge(number, "without_mask")
        bob.judge(number, "with_mask" if number == 1 else "without_mask")
    assert agreement_lines(tmp_path)[1] == f"  differ: {ann.items[1].name}, person 0"
    settled = reviewing(store, "bob", is_settling=True)
    assert [item.name for item in settled.items] == [ann.items[1].name]
    settled.judge(0, "without_mask")
    with pytest.raises(UsageError, match="differ on nobody"):
        reviewing(store, is_settling=True)


def test_the_reviewed_faces_are_a_dataset(store, tmp_path):
    """Pictures of reviewed people lie in folders by verdict; unsure ones are in none; a folder with files is refused."""
    sources = begun(store, [File("a.jpg"), File("b.jpg")])
    from maskbatch.store.write import add_results
    from maskbatch.types import SegmentResult

    end(store, sources, [File("a.jpg"), File("b.jpg")], [Face("a.jpg", p_mask=0.01), Face("b.jpg", p_mask=0.01)])
    add_results(store, [SegmentResult(evidence=tuple((one.id, 0, 0) for one in sources.values()))])
    (tmp_path / "evidence").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / f"evidence/{name}_f000000_0.jpg").write_bytes(name.encode())
    with pytest.raises(UsageError, match="is reviewed yet"):
        write_dataset(tmp_path, tmp_path / "set", Asked())
    review = reviewing(store)
    review.judge(0, "with_mask")
    review.judge(1, "unsure")
    assert "1 with_mask" in write_dataset(tmp_path, tmp_path / "set", Asked())
    assert [path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").rglob("*.jpg")] == [
        "with_mask/000000.jpg"
    ]
    with pytest.raises(UsageError, match="not an empty folder"):
        write_dataset(tmp_path, tmp_path / "set", Asked())


# the server


@pytest.fixture
def client(store, tmp_path):
    """A browser that was let in, and the guard."""
    with_people(store, [0.01, 0.99])
    return browser(store, tmp_path)


def browser(store, tmp_path):
    testclient = pytest.importorskip("starlette.testclient")
    guard = Guard(["127.0.0.1:8000"])
    app = make_app(reviewing(store), tmp_path, guard)
    opened = testclient.TestClient(app, base_url="http://127.0.0.1:8000")
    opened.guard = guard
    return opened


def enter(client):
    return client.get("/", params={"token": client.guard.token})


def post(client, path, content, origin="http://127.0.0.1:8000"):
    return client.post(path, content=content, headers={"origin": origin})


def test_the_token_works_once(client):
    """Without the token nothing is shown; the token gives a cookie to one browser, and then is worth nothing."""
    assert client.get("/api/items").status_code == 403
    token = client.guard.token
    assert enter(client).status_code == 200
    assert client.get("/api/items").status_code == 200
    client.cookies.clear()
    assert client.get("/", params={"token": token}).status_code == 403


def test_other_hosts_and_origins_are_refused(client):
    """A page elsewhere reaches the server neither by another name nor by a request of its own."""
    enter(client)
    assert client.get("/api/items", headers={"host": "evil.example:8000"}).status_code == 400
    body = '{"number": 0, "verdict": "with_mask"}'
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9000"):
        assert post(client, "/api/verdict", body, origin).status_code == 403
    assert client.post("/api/verdict", content=body).status_code == 403
    assert post(client, "/api/verdict", body).json() == {"stored": True}


def test_verdicts_are_stored_and_taken_back(client, store):
    """Each verdict is in the store when the answer comes."""
    enter(client)
    post(client, "/api/verdict", '{"number": 1, "verdict": "unsure"}')
    assert [one.verdict for one in verdicts_in(store)] == ["unsure"]
    assert client.get("/api/items").json()[1]["verdict"] == "unsure"
    assert post(client, "/api/undo", "{}").json() == {"number": 1}
    assert verdicts_in(store) == []


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"number": "x", "verdict": "unsure"}', '{"number": 0, "verdict": "x"}']
)
def test_broken_requests_store_nothing(client, store, body):
    """A request that makes no sense is answered with 400."""
    enter(client)
    assert post(client, "/api/verdict", body).status_code == 400
    assert verdicts_in(store) == []


@pytest.mark.parametrize(
    "path", ["/picture/99", "/frame/99", "/video/0", "/picture/0", "/static/../server.py", "/static/server.py"]
)
def test_what_is_not_there_is_not_found(client, path):
    """Items, pictures and files that do not exist give 404, never another file."""
    enter(client)
    assert client.get(path).status_code == 404


def test_answers_forbid_frames_and_caches(client):
    """The page may not be framed, nor load anything from elsewhere; personal data are not cached."""
    answer = enter(client)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert client.get("/api/items").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/picture/0", "/frame/0", "/picture/1"])
def test_no_picture_stays_in_the_browser(store, tmp_path, path):
    """The same address shows somebody else in the next review, and pictures are personal data."""
    with_people(store, [0.01, 0.99])
    with store.transaction() as connection:
        connection.execute("UPDATE source SET path = ?", [str(makers.write_photo(tmp_path / "a.png"))])
        connection.execute("INSERT INTO evidence SELECT source_id, frame, face FROM face WHERE p_mask_e4 < 5000")
    makers.write_photo(tmp_path / "evidence/000.jpg_f000000_0.jpg")
    client = browser(store, tmp_path)
    enter(client)
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"


# the command


@pytest.mark.parametrize(
    "options",
    [["--precision", "0.01"], ["--sample", "2"], ["--settle", "--sample", "9"], ["--host", "0.0.0.0"], ["--port", "99999"],
     ["--host", "203.0.113.9"]],
)  # fmt: skip
def test_bad_options_are_usage_errors(store, tmp_path, options):
    """A half width without a sample, a sample of two, every address at once, and an address of another machine."""
    with_people(store, [0.01])
    assert CliRunner().invoke(main, ["review", str(tmp_path), "--no-browser", *options]).exit_code == 2


def test_a_folder_without_a_scan_or_without_people_is_a_usage_error(store, tmp_path):
    """Nothing is served, and no store is made."""
    (tmp_path / "other").mkdir()
    assert CliRunner().invoke(main, ["review", str(tmp_path / "other"), "--no-browser"]).exit_code == 2
    assert not any((tmp_path / "other").iterdir())
    fill(store, [File("a.jpg")])
    result = CliRunner().invoke(main, ["review", str(tmp_path), "--no-browser"])
    assert result.exit_code == 2 and "nobody to review" in result.output


def test_a_missing_package_is_named(store, tmp_path, monkeypatch):
    """Without the extra, the command says what to install."""
    with_people(store, [0.01])
    for name in [name for name in sys.modules if name.startswith("maskbatch.review")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(main, ["review", str(tmp_path), "--no-browser"])
    assert result.exit_code == 1 and "pip install 'maskbatch[review]'" in result.output


def test_a_review_runs_from_the_terminal_to_the_tables(store, tmp_path):
    """The address lets a browser in, a verdict is stored, Ctrl-C ends the review, and the tables have the verdict."""
    httpx = pytest.importorskip("httpx")
    with_people(store, [0.01, 0.99])
    command = [sys.executable, "-m", "maskbatch", "review", str(tmp_path), "--no-browser", "--reviewer", "ann"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = re.search(r"http\S+", process.stdout.readline())[0]
        origin = address.partition("/?")[0]
        with httpx.Client(follow_redirects=True) as client:
            assert "maskbatch review" in client.get(address).text
            body = '{"number": 0, "verdict": "with_mask"}'
            assert client.post(f"{origin}/api/verdict", content=body, headers={"origin": origin}).json() == {
                "stored": True
            }
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and "1 of 2 reviewed by ann" in said and "Traceback" not in said
    assert "with_mask,without_mask,with_mask" in (tmp_path / "people.csv").read_text()
