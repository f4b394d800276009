"""Training recipes: what is trained, how long, how fast, on what augmentation."""

from dataclasses import dataclass

from maskbatch.trainer import augment


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
    """Phases in order; `balanced` draws classes and sources by weight instead of as they come."""

    name: str
    phases: tuple[Phase, ...]
    augment: augment.Augment
    balanced: bool

    @property
    def num_epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

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
        Recipe(
            "reference",
            (Phase(5, 1e-4, None), Phase(3, 1e-5, 100)),
            augment.reference,
            balanced=False,
        ),
        Recipe(
            "best",
            (Phase(1, 1e-3, None), Phase(2, 2e-4, 0, cosine=True)),
            augment.recorded,
            balanced=True,
        ),
    )
}
