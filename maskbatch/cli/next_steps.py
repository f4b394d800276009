"""Lines about the next steps with results, and the checksum to keep."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # heavy; --help does not need it
    from maskbatch.run.job import Outcome


def next_steps(outcome: "Outcome") -> list[str]:
    """Return lines about the next steps with the results."""
    out, other = outcome.out, 0.7 if outcome.written.summary.threshold < 0.6 else 0.5
    return [
        f"open {out / 'report.html'} in a browser; correct it with maskbatch review {shlex.quote(str(out))}",
        *checksum_lines(out),
        f"files.csv has a row for each file{', annotated/ a copy of each' if (out / 'annotated').is_dir() else ''}",
        f"another threshold, without a new scan: maskbatch report {shlex.quote(str(out))} --threshold {other}",
    ]


def checksum_lines(folder: Path) -> list[str]:
    """Return a line with the checksum of the manifest in `folder`, for `verify --expect`; none without a manifest."""
    from maskbatch.reports.manifest import MANIFEST, sha256_of

    checksum = sha256_of(folder / MANIFEST)
    return [f"{MANIFEST} has the SHA-256 {checksum}"] if checksum else []
