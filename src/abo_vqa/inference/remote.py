"""Ask a model on a Ray cluster, as a Scorer does here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abo_vqa.common.cluster import Cluster
from abo_vqa.inference.ask import Answers, Task
from abo_vqa.inference.prompt_tree.scorer import Prompt


@dataclass(frozen=True)
class RemoteScorer:
    """A model that workers hold.

    open_scorer: loads it, and returns its scorer; identity: a digest of everything that a machine's answers depend on.
    """

    cluster: Cluster
    open_scorer: Callable[[], Any]
    identity: Callable[[], str]

    def together(self, prompts: Mapping[str, Iterable[Prompt]]) -> list[list[str]]:
        """Return the images in groups to ask about together; prompts: by image."""
        if not self.cluster.gpus:
            return [[image] for image in prompts]
        # It depends on the tokens, the GPU's memory, and whether the model's prompts can share an image.
        groups: list[list[str]] = self.cluster.call(self._together, {i: list(of) for i, of in prompts.items()})
        return groups

    def _together(self, prompts: Mapping[str, list[Prompt]]) -> list[list[str]]:
        groups: list[list[str]] = self.open_scorer().together(prompts)
        return groups

    def ask_together(self, prompts: Task) -> Answers:
        """Return the answers to the prompts about each image."""
        return next(iter(self.ask_each([prompts])))

    def ask_each(self, tasks: Sequence[Task]) -> Iterator[Answers]:
        """Yield the answers to each task, in their order."""
        return self.cluster.results(self._worker, self.identity, tasks)

    def _worker(self) -> Callable[[Task], Answers]:
        answer: Callable[[Task], Answers] = self.open_scorer().ask_together
        return answer
