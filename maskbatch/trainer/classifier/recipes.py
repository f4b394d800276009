"""Training recipes: what is trained, how long, how fast, on what augmentation."""

from dataclasses import asdict, dataclass, field

from maskbatch.trainer.classifier import augment
from maskbatch.trainer.data.batches import Balance
from maskbatch.trainer.drawn.covers import CoverSettings


@dataclass(frozen=True, slots=True)
class Phase:
    """Some epochs at one setting. `first_layer`: the backbone's layers from this index on train; None trains the head only.

    With `cosine` the learning rate rises over the first tenth of the phase and then falls to zero; otherwise it stays.
    """

    epochs: int
    learning_rate: float
    first_layer: int | None
    cosine: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """Phases in order, and what the faces look like that they see.

    `balance`: see `BatchSettings`. `patience`: epochs of the last phase without a better validation loss before training
    stops; the best epoch is the result. None: all epochs run, and the last one is. `unit_scale`: pixels are scaled by
    1/255 as in the reference system, not to what the backbone was trained on.
    """

    name: str
    phases: tuple[Phase, ...]
    augment: augment.Augment
    covers: CoverSettings = field(default_factory=CoverSettings)
    balance: Balance = "none"
    patience: int | None = None
    unit_scale: bool = False

    @property
    def num_epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def as_dict(self) -> dict:
        """For JSON, with all its numbers; the augmentation by its name in `augment.py`."""
        return {**asdict(self), "augment": self.augment.__name__}

    def phase_at(self, epoch: int) -> tuple[Phase, bool]:
        """The phase that an epoch (from 0) belongs to, and whether it begins there."""
        for phase in self.phases:
            if epoch < phase.epochs:
                return phase, epoch == 0
            epoch -= phase.epochs
        raise IndexError("the recipe has fewer epochs")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("reference", (Phase(5, 1e-4, None), Phase(3, 1e-5, 100)), augment.reference, unit_scale=True),
        Recipe(
            "best",
            (Phase(1, 1e-3, None), Phase(2, 2e-4, 0, cosine=True)),
            augment.recorded,
            CoverSettings(mask=0.15, other=0.1),
            balance="oversample",
            # no patience: with a learning rate that ends at zero the last epoch is the best, while the least validation
            # loss (before calibration) is that of the timid head of the first
        ),
    )
}
