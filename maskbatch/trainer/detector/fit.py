"""Fine-tune the detector on views of scenes, with a running average of its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskbatch.networks.yunet import build_network, load_network
from maskbatch.trainer.data.batches import TensorSpec, in_turn, tensor_batches
from maskbatch.trainer.detector.augment import training_view
from maskbatch.trainer.detector.loss import detection_loss, raw_maps
from maskbatch.trainer.detector.scene import DetectorScene
from maskbatch.trainer.detector.targets import COLUMNS, MOST_FACES, face_table
from maskbatch.trainer.epochs import MODEL, Course, Progress, no_progress, run_epochs, warm_cosine

_AVERAGE = "average.weights.h5"
_WARMUP_SHARE = 0.05
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True, slots=True)
class DetectorFitSettings:
    """Settings of a fine-tuning.

    An epoch has `steps` batches; None means each scene once. `side_px` is the side of the square views, a multiple of
    32. The average of the weights spans the last `averaged_steps` steps. `resume` continues after the last finished
    epoch.
    """

    out: Path
    epochs: int = 12
    steps: int | None = None
    batch_size: int = 16
    side_px: int = 384
    learning_rate: float = 1e-3
    averaged_steps: int = 200
    seed: int = 0
    resume: bool = False


def fit_detector(
    original: Path,
    scenes: Sequence[DetectorScene],
    settings: DetectorFitSettings,
    progress: Progress = no_progress,
):
    """Fine-tune the weights at `original`, and leave a checkpoint after each epoch (see `run_epochs`).

    Returns:
        The network with the running average of its weights, which is more stable than the weights of a single step
        (Polyak & Juditsky 1992).

    Raises:
        UsageError: There is nothing to resume.
        MaskbatchError: The training diverged. The last good checkpoint is kept.
    """
    course = _FineTuning(original, scenes, settings)
    run_epochs(course, settings.out, settings.resume, progress)
    return with_weights(course.average)


def with_weights(weights: Sequence[np.ndarray]):
    """Return YuNet with these weights, in the order of `get_weights`."""
    network = build_network()
    network.set_weights(weights)
    return network


def interpolated(original, tuned, alpha: float):
    """Return a network with (1 - alpha) times the original's weights plus alpha times the tuned network's.

    Fine-tuning stays in one basin of the loss. A network between the two therefore keeps the original's knowledge and
    most of the fine-tuning (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903).
    """
    pairs = zip(original.get_weights(), tuned.get_weights(), strict=True)
    return with_weights([first + np.float32(alpha) * (second - first) for first, second in pairs])


def training_views(scenes: Sequence[DetectorScene], settings: DetectorFitSettings, steps: int, epoch: int):
    """Return one epoch: a tf.data.Dataset of views (B, S, S, 3) uint8 and tables (B, 80, 17) float32 of faces.

    The views depend only on (seed, epoch, position), not on the number of threads.
    """
    side_px = settings.side_px
    drawn = in_turn(len(scenes), steps * settings.batch_size, np.random.default_rng((settings.seed, epoch)))

    def view(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own = np.random.default_rng((settings.seed, epoch, int(position)))
        image, faces = training_view(scenes, int(drawn[position]), side_px, own)
        return image, face_table(faces)

    parts = (TensorSpec("uint8", (side_px, side_px, 3)), TensorSpec("float32", (MOST_FACES, COLUMNS)))
    return tensor_batches(view, len(drawn), parts, settings.batch_size)


class _FineTuning(Course):
    """The training of the detector, with one learning-rate curve over all epochs, and an average of the weights."""

    def __init__(self, original: Path, scenes: Sequence[DetectorScene], settings: DetectorFitSettings) -> None:
        super().__init__(settings.steps or max(1, len(scenes) // settings.batch_size), settings.seed)
        self._original, self._scenes, self._settings = original, scenes, settings
        self.average: list[np.ndarray] = []

    def start(self):
        """Return the original network with its maps in one tensor, compiled."""
        import keras

        network = load_network(self._original)
        self.average = network.get_weights()
        model = raw_maps(network, self._settings.side_px)
        total = self._settings.epochs * self.steps
        rate = warm_cosine(self._settings.learning_rate, total, round(total * _WARMUP_SHARE))
        optimizer = keras.optimizers.Adam(rate, global_clipnorm=_MAX_GRADIENT_NORM)
        # XLA takes half a minute to compile this network on a CPU, for every run
        model.compile(optimizer, loss=detection_loss, jit_compile=False)
        return model

    def resume(self, folder: Path):
        """Return the model in an epoch's folder, and restore the average of the weights."""
        import keras

        self.average = load_network(folder / _AVERAGE).get_weights()
        known = {"detection_loss": detection_loss}
        return keras.models.load_model(folder / MODEL, custom_objects=known, safe_mode=True)

    def batches(self, epoch: int):
        """Return the tf.data.Dataset of one epoch."""
        return training_views(self._scenes, self._settings, self.steps, epoch)

    def is_over(self, rows: Sequence[dict]) -> bool:
        """Return True after the last epoch."""
        return len(rows) >= self._settings.epochs

    def end_step(self, model) -> None:
        """Add the weights to the average, which spans fewer steps at the beginning."""
        share = 1 / min(self._settings.averaged_steps, 1 + int(model.optimizer.iterations))
        for mean, weight in zip(self.average, model.get_weights(), strict=True):
            mean += share * (weight - mean)

    def weights(self, model) -> list[np.ndarray]:
        """Return the model's weights and their average."""
        return [*model.get_weights(), *self.average]

    def save(self, folder: Path) -> None:
        """Keep the average of the weights."""
        with_weights(self.average).save_weights(folder / _AVERAGE)
