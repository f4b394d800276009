"""Run reviews: serve the page, compare reviewers, and write a dataset of their verdicts."""

import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

import uvicorn

from maskbatch.errors import UsageError
from maskbatch.people.answer import Answer, find_answer
from maskbatch.reports.agreement import Agreement, agreement
from maskbatch.review.guard import Guard
from maskbatch.review.items import Item, items_of
from maskbatch.review.sampling import draw_sample
from maskbatch.review.server import Reviewing, make_app
from maskbatch.run.report import report_again
from maskbatch.run.threshold import Asked, report_settings
from maskbatch.states import LABELS
from maskbatch.store.database import Store, open_store
from maskbatch.store.review import Sample, last_sample, save_sample, verdicts

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Wanted(NamedTuple):
    """Subject of a review and its reviewer: everybody, a sample of `num_items`, or people on whom reviewers differ."""

    reviewer: str
    num_items: int | None = None
    precision: float | None = None
    seed: int = 0
    is_settling: bool = False


def serve(
    folder: Path, wanted: Wanted, asked: Asked, at: tuple[str, int], opened: Callable[[str], None]
) -> str:  # fmt: skip
    """Serve the page of a review until Ctrl-C, then write tables and report again; return a sentence about the review.

    Args:
        folder: the output folder of a scan.
        wanted: subject and reviewer.
        asked: the rules by which people are derived.
        at: address and port to listen on; port 0 means any free port.
        opened: called with the address of the page once it is served.

    Raises:
        UsageError: the folder is not an output folder, there is nothing to review, or the address cannot be used.
    """
    listening = _listening(*at)
    with listening, open_store(_checked(folder)) as store:
        reviewing = prepared(store, wanted, asked)
        before = len(reviewing.said())
        host, port = listening.getsockname()[:2]
        guard = Guard(_hosts(at[0], host, port))
        _run(
            make_app(reviewing, folder, guard),
            listening,
            lambda: opened(f"http://{_shown(host)}:{port}/?token={guard.token}"),
        )
        number = len(reviewing.said())
    report_again(folder, asked, is_update=True)
    return (f"{number} of {len(reviewing.items)} reviewed by {wanted.reviewer}, {number - before} of them now; "
            "the tables and report.html are written again")  # fmt: skip


def prepared(store: Store, wanted: Wanted, asked: Asked) -> Reviewing:
    """Return a review that is ready to be served. An earlier sample with the same draw is continued.

    Raises UsageError when there is nothing to review.
    """
    with store.transaction() as connection:
        answer = find_answer(connection, report_settings(connection, asked, store.folder))
        sample = None
        if wanted.num_items is not None:
            sample = draw_sample(connection, answer, wanted.num_items, wanted.precision, wanted.seed)
        last = last_sample(connection)
        items = _items(connection, answer, sample, wanted)
    if not items:
        raise UsageError(
            "reviewers differ on nobody" if wanted.is_settling else "there is nobody to review in this scan"
        )
    if sample is not None and (last is None or not _is_same(sample, last)):
        save_sample(store, sample)
    return Reviewing(store, items, answer, wanted.reviewer, sample)


def _is_same(a: Sample, b: Sample) -> bool:
    return (
        a.precision == b.precision
        and list(map(tuple, a.strata)) == list(map(tuple, b.strata))
        and list(a.items) == b.items
    )


def _items(connection: Connection, answer: Answer, sample: Sample | None, wanted: Wanted) -> list[Item]:
    items = items_of(connection, answer, sample)
    if not wanted.is_settling:
        return items
    differ = {who for pair in agreement(verdicts(connection)) for who in pair.differ}
    chosen = [item for item in items if (item.source_id, item.person_id) in differ]
    return [replace(item, number=number) for number, item in enumerate(chosen)]


def agreement_lines(folder: Path) -> list[str]:
    """Return lines about the agreement of each pair of reviewers. Raises UsageError for fewer than two reviewers."""
    with open_store(_checked(folder), reader=True) as store, store.transaction() as connection:
        found = agreement(verdicts(connection))
        names = dict(connection.execute("SELECT id, name FROM source"))
    if not found:
        raise UsageError("there are no verdicts of two reviewers yet")
    return [line for pair in found for line in _lines(pair, names)]


def _lines(pair: Agreement, names: dict[int, str]) -> list[str]:
    if pair.observed is None:
        return [f"{pair.first} and {pair.second}: no person was reviewed by both"]
    kappa = "kappa is not defined: all verdicts are the same"
    if pair.kappa is not None:
        kappa = f"Cohen's kappa {pair.kappa:.2f}, 95 % interval {pair.low:.2f} to {pair.high:.2f}"
    head = f"{pair.first} and {pair.second}: {pair.observed:.1%} alike on {pair.num_both} people, {kappa}"
    return [head, *(f"  differ: {names.get(source_id, '?')}, person {person}" for source_id, person in pair.differ)]


def write_dataset(folder: Path, target: Path, asked: Asked) -> str:
    """Copy the evidence of reviewed people into folders by verdict, for `maskbatch train` and `evaluate`.

    Return a sentence with the counts. Raises UsageError when `target` is not empty, or when nobody has been reviewed.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not an empty folder: choose another one")
    with open_store(_checked(folder), reader=True) as store, store.transaction() as connection:
        answer = find_answer(connection, report_settings(connection, asked, folder))
        items = items_of(connection, answer)
        last = {(one.source_id, one.person_id): one.verdict for one in verdicts(connection)}
    counts = dict.fromkeys(LABELS, 0)
    for item in items:
        verdict = last.get((item.source_id, item.person_id), "")
        if verdict in counts and item.picture.startswith("evidence/"):
            place = target / verdict
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / item.picture, place / f"{counts[verdict]:06d}.jpg")
            counts[verdict] += 1
    if not sum(counts.values()):
        raise UsageError("no person with a picture in evidence/ is reviewed yet")
    return f"{target}: " + ", ".join(f"{number} {label}" for label, number in counts.items())


def _checked(folder: Path) -> Path:
    """Return `folder`. Raises UsageError when it holds no scan, because opening it for writing would create a store."""
    with open_store(folder, reader=True):
        return folder


def _listening(host: str, port: int) -> socket.socket:
    if host in ("0.0.0.0", "::", ""):
        raise UsageError(f"--host {host!r} means all addresses of this machine: give the address that browsers use")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return made


def _hosts(asked: str, host: str, port: int) -> list[str]:
    """Return the values of the Host header that belong to the server."""
    names = {asked, host, *(_LOOPBACK if asked in _LOOPBACK else (socket.gethostname(),))}
    return [f"{_shown(name)}:{port}" for name in sorted(names)]


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _run(app, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
    with suppress(KeyboardInterrupt):  # uvicorn raises KeyboardInterrupt again once it has stopped
        Server(config).run(sockets=[listening])
