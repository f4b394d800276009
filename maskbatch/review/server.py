"""The page of a review, served to one browser on this machine."""

import json
import threading
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from maskbatch.people.answer import Answer
from maskbatch.reports.sampled import Sampled, sampled_answer
from maskbatch.review.guard import Guard
from maskbatch.review.items import Item
from maskbatch.review.pictures import crop_jpeg, whole_jpeg
from maskbatch.states import LABELS, UNSURE
from maskbatch.store.database import Store
from maskbatch.store.review import NOBODY, NOT_A_FACE, SOMEBODY, Sample, Verdict, add_verdict, undo_last, verdicts

PERSON_VERDICTS = (*LABELS, UNSURE, NOT_A_FACE)
MOMENT_VERDICTS = (NOBODY, SOMEBODY)
_STATIC = {"review.js": "text/javascript", "review.css": "text/css"}


class Reviewing:
    """A review in progress: its items, and the verdicts, each of which is stored immediately.

    Args:
        store: the store of the scan, open for writing.
        items: the items to review, in order.
        answer: the people of the scan.
        reviewer: name of the reviewer.
        sample: the sample that contains the items, None for a review of everybody.
    """

    def __init__(
        self, store: Store, items: Sequence[Item], answer: Answer, reviewer: str, sample: Sample | None = None
    ) -> None:
        self._store, self.items, self._answer = store, items, answer
        self.reviewer, self._sample = reviewer, sample
        self._lock = threading.Lock()

    def judge(self, number: int, verdict: str) -> None:
        """Store a verdict on an item. Raises ValueError when the verdict does not suit the item, IndexError for no item."""
        item = self.items[number] if number >= 0 else self.items[len(self.items)]
        if verdict not in (PERSON_VERDICTS if item.person_id is not None else MOMENT_VERDICTS):
            raise ValueError(f"{verdict!r} is not a verdict on this item")
        p_mask_e4 = None if item.p_mask is None else round(1e4 * item.p_mask)
        with self._lock:
            add_verdict(self._store, Verdict(item.source_id, item.person_id, item.frame, item.face, round(1e4 * item.time_s),
                                             verdict, p_mask_e4, item.state, self.reviewer))  # fmt: skip

    def undo(self) -> int | None:
        """Undo the reviewer's last verdict; return the number of its item, None when that is not in this review."""
        with self._lock:
            last = undo_last(self._store, self.reviewer)
        if last is None:
            return None
        return next((item.number for item in self.items if item.subject == last.subject), None)

    def said(self) -> dict[int, str]:
        """Return the reviewer's last verdict on each reviewed item, by number of the item."""
        own = {one.subject: one.verdict for one in self._verdicts() if one.reviewer == self.reviewer}
        return {item.number: own[item.subject] for item in self.items if item.subject in own}

    def estimate(self) -> Sampled | None:
        """Return the estimates from the sample so far, None without a sample."""
        return None if self._sample is None else sampled_answer(self._answer, self._sample, self._verdicts())

    @property
    def precision(self) -> float | None:
        """Half width of the interval at which the review may stop, None without one."""
        return None if self._sample is None else self._sample.precision

    def _verdicts(self) -> list[Verdict]:
        with self._lock, self._store.transaction() as connection:
            return verdicts(connection)


def make_app(reviewing: Reviewing, folder: Path, guard: Guard) -> Starlette:
    """Return the web application. Every request passes `guard`; requests name items by number, never by path.

    Args:
        reviewing: the review.
        folder: the output folder of the scan.
        guard: rules that decide which requests are allowed.
    """
    pages = _Pages(reviewing, folder)
    routes = [
        Route("/", pages.page), Route("/favicon.ico", lambda request: Response(status_code=204)),
        Route("/static/{name}", pages.static), Route("/api/items", pages.listed),
        Route("/api/verdict", pages.judge, methods=["POST"]), Route("/api/undo", pages.undo, methods=["POST"]),
        Route("/api/progress", pages.progress), Route("/picture/{number:int}", pages.picture),
        Route("/frame/{number:int}", pages.frame), Route("/video/{number:int}", pages.video),
    ]  # fmt: skip
    app = Starlette(routes=routes, exception_handlers={IndexError: _no_item})
    app.add_middleware(guard.middleware)
    return app


class _Pages:
    """The handlers of requests."""

    def __init__(self, reviewing: Reviewing, folder: Path) -> None:
        self._reviewing, self._folder = reviewing, folder

    def page(self, request: Request) -> Response:
        return Response(_static("review.html"), media_type="text/html")

    def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return PlainTextResponse("no such file", 404)
        return Response(_static(name), media_type=_STATIC[name])

    def listed(self, request: Request) -> Response:
        said = self._reviewing.said()
        return JSONResponse([_as_json(item, said.get(item.number)) for item in self._reviewing.items])

    async def judge(self, request: Request) -> Response:
        try:
            wanted = json.loads(await request.body())
            self._reviewing.judge(int(wanted["number"]), str(wanted["verdict"]))
        except (ValueError, KeyError, TypeError) as error:
            return PlainTextResponse(str(error), 400)
        return JSONResponse({"stored": True})

    def undo(self, request: Request) -> Response:
        return JSONResponse({"number": self._reviewing.undo()})

    def progress(self, request: Request) -> Response:
        found = self._reviewing.estimate()
        if found is None:
            return JSONResponse({"reviewer": self._reviewing.reviewer})
        rate = None if found.rate is None else [found.rate.value, found.rate.low, found.rate.high]
        is_narrow = found.is_narrow(self._reviewing.precision)
        return JSONResponse({"reviewer": self._reviewing.reviewer, "rate": rate, "narrow": is_narrow})

    def picture(self, request: Request) -> Response:
        item = self._item(request)
        path = self._folder / item.picture if item.picture.startswith("evidence/") else None
        if path is not None and path.is_file():
            return FileResponse(path)
        return _jpeg(crop_jpeg, item)

    def frame(self, request: Request) -> Response:
        return _jpeg(whole_jpeg, self._item(request))

    def video(self, request: Request) -> Response:
        item = self._item(request)
        path = self._folder / item.copy if item.copy else item.path
        if item.kind != "video" or not path.is_file():
            return PlainTextResponse("there is no video", 404)
        return FileResponse(path)  # supports range requests

    def _item(self, request: Request) -> Item:
        return self._reviewing.items[request.path_params["number"]]


def _jpeg(make: Callable[[Item], bytes | str], item: Item) -> Response:
    """Return a picture, or the reason why there is none."""
    made = make(item)
    if isinstance(made, str):
        return PlainTextResponse(made, 404)
    return Response(made, media_type="image/jpeg")


def _no_item(request: Request, error: Exception) -> Response:
    return PlainTextResponse("no such item", 404)


def _static(name: str) -> str:
    return resources.files("maskbatch.review").joinpath("static", name).read_text(encoding="utf-8")


def _as_json(item: Item, verdict: str | None) -> dict[str, object]:
    return {
        "number": item.number, "person": item.person_id, "name": item.name, "kind": item.kind, "place": item.place,
        "when": item.when, "time_s": item.time_s, "box": item.box, "size": item.size, "state": item.state, "p": item.p_mask,
        "px": round(item.size_px), "video": item.kind == "video", "verdict": verdict,
    }  # fmt: skip
