"""Training recipes: the phases of training, their learning rates, and the augmentation of faces."""

from dataclasses import asdict, dataclass

from maskbatch.analyse.classifier import CROP_PX
from maskbatch.trainer.data import augment
from maskbatch.trainer.data.batches import Balance, Shape


@dataclass(frozen=True, slots=True)
class Phase:
    """Consecutive epochs with the same settings.

    The backbone's layers from index `first_layer` are trained; None trains the head only. With `cosine`, the learning
    rate rises over the first tenth of the phase and then falls to zero; otherwise it is constant.
    """

    epochs: int
    learning_rate: float
    first_layer: int | None
    cosine: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """Phases in order, and the way in which faces are drawn and augmented.

    For `balance`, see `BatchSettings`. Training stops after `patience` epochs of the last phase without a better
    validation loss, and the best epoch is the result; None runs all epochs and takes the last. `unit_scale` scales
    pixels by 1/255, like the reference system, instead of to the range of the backbone's training. `size_px` is the
    side of the crops. With `third_state`, the model also learns p_incorrect.
    """

    name: str
    phases: tuple[Phase, ...]
    augment: augment.Augment
    balance: Balance = "none"
    patience: int | None = None
    unit_scale: bool = False
    size_px: int = CROP_PX
    third_state: bool = False

    @property
    def num_epochs(self) -> int:
        """Return the number of epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def shape(self) -> Shape:
        """Return the shape of the model's crops and targets."""
        return Shape(self.size_px, self.third_state)

    def as_dict(self) -> dict:
        """Return the recipe for JSON; the augmentation is the name of its function in `augment.py`."""
        return {**asdict(self), "augment": self.augment.__name__}

    def phase_at(self, epoch: int) -> tuple[Phase, bool]:
        """Return the phase of an epoch (counted from 0), and True if the phase begins with this epoch."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase, epoch == 0
            epoch -= phase.epochs
        raise IndexError("the recipe has fewer epochs")


_REFERENCE = Recipe("reference", (Phase(5, 1e-4, None), Phase(3, 1e-5, 100)), augment.reference, unit_scale=True)
# no patience: the learning rate ends at zero, so the last epoch is the best, although the validation loss before
# calibration is least after the first epoch, whose head is less certain
_BEST = Recipe(
    "best",
    (Phase(1, 1e-3, None), Phase(4, 2e-4, 0, cosine=True)),
    augment.recorded,
    balance="oversample",
    size_px=128,
    third_state=True,
)
RECIPES = {recipe.name: recipe for recipe in (_REFERENCE, _BEST)}
