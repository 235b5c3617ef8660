"""The bar of a training's steps."""

from typing import Any

from transformers import ProgressCallback, Trainer


class Bar(ProgressCallback):
    """The Trainer's bar with the last loss beside it, instead of a line of numbers at every logged step."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the loss; MLflow and reports/curves have all numbers."""
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)


def use_bar(trainer: Trainer) -> None:
    """Put the bar in the place of the Trainer's own."""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar)
