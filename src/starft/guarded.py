"""What guards a training from inside: numbers that aren't finite go no further than the step they come up in."""

from typing import Any, cast

from torch import Tensor

from starft.checkpoints import TWIN
from starft.distributed import world_size
from starft.finite import LossWatch, check_loss, check_weights, tensors_in
from starft.scoring import ScoringModule
from starft.types import Batch

MOST_STEPS = 50
"""How many steps' losses may wait to be looked at."""


class GuardedModule(ScoringModule):
    """Stops at the first loss that isn't finite; weights that aren't are neither scored nor saved.

    A subclass notes its losses in each step, and has a learning rate ``lr``.
    """

    lr: float

    def __init__(self) -> None:
        super().__init__()
        self._losses = LossWatch()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Look at the losses: on a CPU at each step, elsewhere at each logging, for the device is waited for."""
        alone = self.device.type == "cpu" and world_size() == 1
        every = 1 if alone else min(cast(Any, self.trainer).log_every_n_steps or MOST_STEPS, MOST_STEPS)
        if (batch_idx + 1) % every == 0:
            check_loss(self._losses, self._advice())

    def on_validation_epoch_start(self) -> None:
        """Score finite weights alone."""
        self.check_finite()
        super().on_validation_epoch_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save finite numbers alone."""
        self.check_finite(checkpoint.get("optimizer_states"))

    def check_finite(self, optimizer_states: Any = None) -> None:
        """Refuse to go on with losses or weights that aren't finite.

        Args:
            optimizer_states: What else must be; null for nothing.

        Raises:
            NotFiniteError: There is a NaN or an infinity.
        """
        check_loss(self._losses, self._advice())
        step = self.global_step if self._trainer is not None else 0
        weights = ((name, value) for name, value in self.state_dict().items() if not name.startswith(TWIN))
        moments: list[tuple[str, Tensor]] = [*tensors_in(optimizer_states or {}, "the optimizer's state")]
        check_weights((*weights, *moments), f" after step {step}" if step else "", self._advice())

    def _advice(self) -> str:
        """Return what to try, a sentence's end."""
        precision = str(self.trainer.precision) if self._trainer is not None else ""
        wider = f", set trainer.precision (it is {precision}) to bf16-mixed or 32-true" if "16" in precision else ""
        return f"lower model.lr (it is {self.lr:g}) or the weights of the terms{wider}, or check the data"
