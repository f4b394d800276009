"""Plots of a training run and of an evaluation. matplotlib and scikit-learn are imported late: a scan needs neither."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from maskbatch.trainer.data.labels import LABELS

_NUM_BINS = 15


def draw_curves(rows: Sequence[dict], path: Path) -> None:
    """Plot loss and accuracy over the epochs; `rows` are those of history.csv."""
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] + 1 for row in rows]
    with _figure(path, (9, 3.5), 2) as axes:
        for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
            axis.plot(epochs, [row[name] for row in rows], "o-", label="training")
            axis.plot(epochs, [row[f"val_{name}"] for row in rows], "o-", label="validation")
            axis.set(xlabel="epoch", title=name)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.legend()


def draw_confusion(confusion: Sequence[Sequence[int]], path: Path) -> None:
    """Plot counts (2, 2) of [label][predicted], without_mask first; the colour is the share of the row."""
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = np.array(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _figure(path, (5, 4), 1) as (axis,):
        shown = ConfusionMatrixDisplay(share, display_labels=LABELS)
        shown.plot(ax=axis, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1})
        for text, count, part in zip(shown.text_.flat, counts.flat, share.flat, strict=True):
            text.set_text(f"{count}\n{part:.1%}")
        axis.set(xlabel="predicted", ylabel="label")


def draw_reliability(label: np.ndarray, p_mask: np.ndarray, path: Path) -> None:
    """Plot the share of masks over p_mask in 15 equal bins, and the faces of each bin; labels and p_mask are (N,)."""
    slot = np.minimum((p_mask * _NUM_BINS).astype(int), _NUM_BINS - 1)
    count = np.bincount(slot, minlength=_NUM_BINS)
    seen = count > 0
    mean, share = (np.bincount(slot, values, _NUM_BINS)[seen] / count[seen] for values in (p_mask, label))
    with _figure(path, (9, 3.5), 2) as (left, right):
        left.plot([0, 1], [0, 1], "--", color="grey", label="ideal")
        # the range around the ideal that chance would give in 95 % of cases
        spread = 1.96 * np.sqrt(mean * (1 - mean) / count[seen])
        left.errorbar(mean, share, yerr=spread, fmt="o-", capsize=3, label="measured")
        left.set(xlabel="p_mask", ylabel="share with mask", xlim=(0, 1), ylim=(-0.02, 1.02))
        left.legend()
        right.bar((np.arange(_NUM_BINS) + 0.5) / _NUM_BINS, count, width=0.9 / _NUM_BINS)
        right.set(xlabel="p_mask", ylabel="faces", xlim=(0, 1), yscale="log", ylim=(0.8, 1.5 * count.max()))


@contextmanager
def _figure(path: Path, size: tuple[float, float], columns: int) -> Iterator[Sequence]:
    """Yield axes side by side, and save them as a PNG at the end of the block."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    yield figure.subplots(1, columns, squeeze=False)[0]
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.1)
