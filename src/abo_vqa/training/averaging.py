"""The average of the trained weights over the last steps."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch.nn import ParameterList
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback


class AverageWeights(TrainerCallback):
    """Running mean of the trainable weights over the last share of the planned steps; a run's result.

    The last weights alone depend on the order of the last questions, and so on the training seed; their average does
    much less (Izmailov et al. 2018, arXiv 1803.05407). A run stopped before these steps keeps its last weights.
    """

    FILE = "average.safetensors"

    def __init__(self, model: Any, share: float) -> None:
        """Average the trainable weights of `model` over the last `share` of the steps; 0: the last step alone."""
        self._share = share
        self._weights = ParameterList(weight for weight in model.parameters() if weight.requires_grad)
        self._mean = AveragedModel(self._weights)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add the step's weights to the mean if it is one of the last; leave out the very last step's validation."""
        if state.global_step > min((1 - self._share) * state.max_steps, state.max_steps - 1):
            self._mean.update_parameters(self._weights)
        if state.global_step >= state.max_steps:
            control.should_evaluate = False  # the mean is validated instead, once it has replaced the last weights

    def apply(self) -> None:
        """Replace the model's weights by their mean."""
        if self._mean.n_averaged:
            for weight, mean in zip(self._weights, self._mean.parameters(), strict=True):
                weight.data.copy_(mean)

    def save(self, folder: Path) -> None:
        """Write the mean beside a checkpoint's weights."""
        save_file(self._mean.state_dict(), folder / self.FILE)

    def restore(self, folder: Path) -> None:
        """Read the mean of a checkpoint."""
        self._mean.load_state_dict(load_file(folder / self.FILE))
