"""`run.json`: what an auditor needs to know to get these numbers again, over all sessions of a run."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone

from maskbatch import __version__
from maskbatch.errors import MaskbatchError
from maskbatch.outputs import read_run, write_run
from maskbatch.plan import Plan
from maskbatch.versions import installed

_PACKAGES = ("tensorflow", "openvino", "cv2", "av", "numpy")
_MOST_NAMES = 1000


class Record:
    """The record of a run, written when a session begins and when it ends. `facts` are those about settings and device.

    A session that was killed keeps its null `finished`. `finished` of the run is null until all is done.
    """

    def __init__(self, plan: Plan, facts: dict) -> None:
        self._out, self._start = plan.out, time.monotonic()
        self._frames = 0
        earlier = _earlier_sessions(plan)
        self._session = {
            "started": _now(), "finished": None, "seconds": None, "maskbatch": __version__, "frames": None,
            "files_done_before": plan.num_done, "files_changed": len(plan.changed),
            "files_vanished": list(plan.vanished[:_MOST_NAMES]), "ended": None, "stages_s": None,
            "num_warnings": 0, "warnings": [],
        }  # fmt: skip
        self._values = {
            "maskbatch": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": installed(_PACKAGES),
            **facts,
            "inputs": [str(path.absolute()) for path in plan.inputs],
            "files": len(plan.sources),
            "not_looked_at": asdict(plan.not_looked_at),
            "started": earlier[0]["started"] if earlier else self._session["started"],
            "finished": None,
            "sessions": [*earlier, self._session],
        }

    def write(self) -> None:
        """Puts it into the output folder. Raises OSError."""
        write_run(self._out, self._values)

    def counting(self, on_batch: Callable) -> Callable:
        """`on_batch`, with the frames counted."""

        def counted(batch) -> None:
            self._frames += len(batch.frames)
            on_batch(batch)

        return counted

    def end(self, how: str, summary: dict, warnings: dict, stages_s: dict[str, float]) -> None:
        """The session ends: "finished", "interrupted" or what went wrong. `warnings` and the seconds each stage was at work
        are of this session."""
        seconds = round(time.monotonic() - self._start, 2)
        self._session |= {"finished": _now(), "seconds": seconds, "frames": self._frames, "ended": how}
        self._session |= {"stages_s": stages_s, **warnings}
        self._values |= {"finished": _now() if how == "finished" else None, "seconds": seconds}
        self._values |= {"summary": summary, **warnings}
        self.write()


def facts_of(settings: object, device: str, weights: dict) -> dict:
    """Settings, device and weights as `run.json` has them."""
    values = asdict(settings)
    values["output"]["save"] = sorted(values["output"]["save"])
    return {"device": device, "weights": weights, "settings": values}


def frames_per_second(record: dict) -> float | None:
    """How fast the sessions of an earlier run were that ended by themselves, None when there was none."""
    ended = [session for session in record.get("sessions", ()) if session.get("frames") and session.get("seconds")]
    seconds = sum(session["seconds"] for session in ended)
    return sum(session["frames"] for session in ended) / seconds if seconds else None


def _earlier_sessions(plan: Plan) -> list[dict]:
    try:
        return read_run(plan.out).get("sessions", [])
    except MaskbatchError:
        return []


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
