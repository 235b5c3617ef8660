"""Answer all prompts about an image together: the image encoded once, its prompts and their options as a tree.

The image prefix stays in the key-value cache; prompts attend to it and themselves, options to it, their prompt and
themselves. What prompts of an image begin with in common is read once a pass. On a GPU several images are asked
together, each with a tree of its own in the same cache. Exact: each option has the log-probability, and each prompt the
greedy answer, of a separate sequence. Options double as drafts: as long as the most likely tokens follow an option, no
further forward pass is needed.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, groupby, islice, takewhile
from typing import Any, Literal, TypeVar

import torch

from abo_vqa.common.errors import InputError
from abo_vqa.inference.prompt_tree.tree import Segment, Tree
from abo_vqa.model.base.memory import free_memory, gpu_memory, pass_tokens
from abo_vqa.model.collators import check_length
from abo_vqa.model.shared_image import ImageCollator

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Prompt:
    """The text after an image, and the answers to score."""

    text: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A model's answer to a prompt.

    text: its greedy generation; tokens: the same, with the end token if generated. log_probabilities: of each option
    with the end token, summed over its tokens (nats); lengths: their number of tokens.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    lengths: tuple[int, ...]


@dataclass
class _Branch:
    """A prompt of an image in a forward pass, and its answer.

    tokens: the prompt's; options: the tokens of each; image, node, drafts: the nodes of the image, of the prompt's last
    tokens and of the options; end, starts: the places in the pass of the prompt's last and each option's first token;
    scores: the options' log-probabilities.
    """

    image: int
    prompt: Prompt
    tokens: list[int]
    options: list[list[int]]
    node: int = 0
    drafts: list[int] = field(default_factory=list)
    end: int = 0
    starts: list[int] = field(default_factory=list)
    scores: tuple[float, ...] = ()
    generated: list[int] = field(default_factory=list)


class Scorer:
    """Answers prompts with one model; `tokens_per_pass` bounds the text tokens of a forward pass, and so memory."""

    def __init__(
        self,
        model: Any,
        collator: ImageCollator,
        max_new_tokens: int,
        tokens_per_pass: int | Literal["auto"],
        several_images: bool | None = None,
    ) -> None:
        """Take a model in evaluation mode and a collator with its images.

        several_images: whether `together` fills passes with several images; None: on a GPU, where a larger pass takes
        hardly longer.
        """
        self.model, self.collator, self._max_new_tokens = model, collator, max_new_tokens
        memory = gpu_memory()
        self._tokens_per_pass = pass_tokens(tokens_per_pass, model.config.get_text_config().vocab_size, memory)
        self._several = memory is not None if several_images is None else several_images
        self._tokenizer, self._ends = collator.tokenizer, collator.processor.ends
        # Options recur in every order and under every condition.
        self._encoded = cache(lambda option: self._tokenizer.encode(option, add_special_tokens=False))

    def together(self, prompts: Mapping[str, Iterable[Prompt]]) -> list[list[str]]:
        """Return the images in groups to ask about together; prompts: by image."""
        if not self._several:
            return [[image] for image in prompts]
        sizes = self.sizes(prompts)
        return _grouped(sizes, self._tokens_per_pass, lambda image, _: sizes[image])

    def sizes(self, prompts: Mapping[str, Iterable[Prompt]]) -> dict[str, int]:
        """Return how many tokens the prompts about each image take with their options; prompts: by image."""
        branches = {image: self._branches(0, of) for image, of in prompts.items()}
        return {image: sum(map(_size, of, [None, *of])) for image, of in branches.items()}

    def _branches(self, image: int, prompts: Iterable[Prompt]) -> list[_Branch]:
        """Return each distinct prompt of an image, those that begin alike side by side."""
        encode = self.collator.prompt_tokens
        each = (_Branch(image, p, encode(p.text), list(map(self._encoded, p.options))) for p in dict.fromkeys(prompts))
        return sorted(each, key=lambda branch: branch.tokens)

    def ask(self, image_id: str, prompts: Sequence[Prompt]) -> list[Answer]:
        """Return the answer to each prompt about an image, as `ask_together`."""
        return self.ask_together({image_id: prompts})[image_id]

    def ask_together(self, prompts: Mapping[str, Sequence[Prompt]]) -> dict[str, list[Answer]]:
        """Return the answers to the prompts about each image; InputError for a bad image or too long a prompt.

        Where the GPU's memory runs out, each half of the images is asked by itself, and a single image in passes of
        half the tokens, down to a prompt each.
        """
        while True:
            try:
                return self._ask(prompts)
            except torch.OutOfMemoryError as error:
                if len(prompts) == 1:
                    self._halve(next(iter(prompts)), error)
            # Not within `except`: there, the error holds what the failed pass has computed.
            free_memory()
            if len(prompts) > 1:
                images = list(prompts)
                halves = images[: len(images) // 2], images[len(images) // 2 :]
                return {k: v for half in halves for k, v in self.ask_together({i: prompts[i] for i in half}).items()}

    def _halve(self, image_id: str, error: torch.OutOfMemoryError) -> None:
        whole, self._tokens_per_pass = self._tokens_per_pass, self._tokens_per_pass // 2
        if not self._tokens_per_pass:
            raise InputError(f"{image_id}: out of memory although each prompt had a forward pass of its own") from error
        print(
            f"out of memory in a forward pass of at most {whole} text tokens; continuing with {self._tokens_per_pass}; "
            f"to start with it, set tokens_per_pass: {self._tokens_per_pass}",
            file=sys.stderr,
        )

    @torch.inference_mode()
    def _ask(self, prompts: Mapping[str, Sequence[Prompt]]) -> dict[str, list[Answer]]:
        prefixes = {image: self.collator.image_prefix(image) for image in prompts}
        branches = {image: self._branches(node, prompts[image]) for node, image in enumerate(prompts)}
        for image, of_image in branches.items():
            for branch in of_image:
                longest = max([self._max_new_tokens, *(len(option) + 1 for option in branch.options)])
                length = len(prefixes[image][0].prefix) + len(branch.tokens) + longest
                check_length(f"{image}: {branch.prompt.text[:80]!r}", length, self.collator.context)
        tree = Tree(self.model, prefixes)
        going: list[_Branch] = []
        every = [branch for of_image in branches.values() for branch in of_image]
        for part in _grouped(every, self._tokens_per_pass, _size):
            self._read(tree, part)
            # Answers that are not finished go on together: the fewer the passes, the faster.
            going += [branch for branch in part if not self._finished(branch)]
            if sum(len(branch.tokens) for branch in going) > self._tokens_per_pass:
                self._generate(tree, going)
                going = []
            tree.forget_prompts(but=[branch.node for branch in going])
        self._generate(tree, going)
        answers = {(image, b.prompt): self._answered(b) for image, of_image in branches.items() for b in of_image}
        return {image: [answers[image, prompt] for prompt in of] for image, of in prompts.items()}

    def _read(self, tree: Tree, branches: Sequence[_Branch]) -> None:
        """Set the prompts' options' scores and, where an option predicts it, the generated answer."""
        segments = [s for image, same in groupby(branches, lambda b: b.image) for s in _grow(tree, list(same), image)]
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        place = 0
        for segment in segments:
            first[segment.node] = place
            place += len(segment.tokens)
            last[segment.node] = place - 1
        for branch in branches:
            branch.end, branch.starts = last[branch.node], [first[draft] for draft in branch.drafts]
        # Only a prompt's last token and its options' tokens predict answers; the LM head is skipped for the others.
        predicting = [range(first[draft], last[draft] + 1) for branch in branches for draft in branch.drafts]
        wanted = sorted({branch.end for branch in branches}.union(*predicting))
        logits = tree.read(segments, wanted)
        likeliest = dict(zip(wanted, logits.argmax(-1).tolist(), strict=True))
        for branch, scores in zip(branches, self._option_scores(branches, wanted, logits), strict=True):
            branch.scores = scores
            # It needs no forward pass, so it is tried first; most answers end here.
            self._follow_options(branch, likeliest)

    def _answered(self, branch: _Branch) -> Answer:
        said = self._tokenizer.decode(branch.generated, skip_special_tokens=True).strip()
        # One more token each: the scores include the end token.
        lengths = tuple(len(option) + 1 for option in branch.options)
        return Answer(said, tuple(branch.generated), branch.scores, lengths)

    def _option_scores(
        self, branches: Sequence[_Branch], wanted: Sequence[int], logits: torch.Tensor
    ) -> list[tuple[float, ...]]:
        """Return the log-probability of every option of every branch from the logits at the wanted places."""
        row_of = {place: row for row, place in enumerate(wanted)}
        rows: list[int] = []
        targets: list[int] = []
        for branch in branches:
            for option, start in zip(branch.options, branch.starts, strict=True):
                rows += [row_of[place] for place in (branch.end, *range(start, start + len(option)))]
                targets += [*option, logits.shape[-1]]
        # In one operation: on a small model, a few operations per option would take longer than the forward pass. The
        # last column is the answer's end, by whichever token.
        found = logits.float()
        with_end = torch.cat([found, found[:, self._ends].logsumexp(-1, keepdim=True)], dim=-1)
        tokens = iter((with_end[rows, targets] - found.logsumexp(-1)[rows]).tolist())
        return [tuple(sum(islice(tokens, len(option) + 1)) for option in branch.options) for branch in branches]

    def _follow_options(self, branch: _Branch, likeliest: Mapping[int, int]) -> None:
        """Extend the answer as long as it follows an option, whose most likely next tokens are known."""
        said, place = branch.generated, branch.end
        while not self._finished(branch):
            said.append(likeliest[place])
            within = (s for o, s in zip(branch.options, branch.starts, strict=True) if o[: len(said)] == said)
            if (start := next(within, None)) is None:
                return
            place = start + len(said) - 1

    def _generate(self, tree: Tree, branches: Sequence[_Branch]) -> None:
        """Generate the tokens that no option predicted, one per unfinished answer and pass."""
        # A node of their own: other prompts may share the prompt's.
        for branch in branches:
            branch.node = tree.grow(branch.node)
        read = dict.fromkeys((branch.node for branch in branches), 0)
        while going := [branch for branch in branches if not self._finished(branch)]:
            segments = [Segment(branch.generated[read[branch.node] :], branch.node) for branch in going]
            ends = [end - 1 for end in accumulate(len(segment.tokens) for segment in segments)]
            for branch, row in zip(going, tree.read(segments, ends), strict=True):
                read[branch.node] = len(branch.generated)
                branch.generated.append(int(row.argmax()))

    def _finished(self, branch: _Branch) -> bool:
        said = branch.generated
        return len(said) == self._max_new_tokens or (bool(said) and said[-1] in self._ends)


def _grow(tree: Tree, branches: Sequence[_Branch], above: int, depth: int = 0) -> Iterator[Segment]:
    """Yield the segments of prompts, in their order, and of their options; set their nodes.

    depth: how many tokens all of them begin with; above: the node that ends with these.
    """
    for branch in branches:
        if len(branch.tokens) == depth:
            branch.node, branch.drafts = above, [tree.grow(above) for _ in branch.options]
            # All options start at the same depth: each continues the prompt as if it were the only one.
            yield from map(Segment, branch.options, branch.drafts)
    longer = (branch for branch in branches if len(branch.tokens) > depth)
    for _, alike in groupby(longer, lambda branch: branch.tokens[depth]):
        same = list(alike)
        shared = _alike(same[0].tokens, same[-1].tokens)  # the first and the last of a sorted list
        node = tree.grow(above)
        yield Segment(same[0].tokens[depth:shared], node)
        yield from _grow(tree, same, node, shared)


def _size(branch: _Branch, before: _Branch | None) -> int:
    """Return how many tokens a prompt and its options add to a pass, behind another prompt."""
    shared = _alike(branch.tokens, before.tokens) if before and before.image == branch.image else 0
    return len(branch.tokens) - shared + sum(map(len, branch.options))


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _grouped(items: Iterable[_Item], most: int, size: Callable[[_Item, _Item | None], int]) -> list[list[_Item]]:
    """Divide items, in order, into groups of at most `most`, or of a larger one alone; size: of one behind another."""
    groups: list[list[_Item]] = []
    total = 0
    for item in items:
        more = size(item, groups[-1][-1] if groups else None)
        if not groups or total + more > most:
            groups.append([])
            total, more = 0, size(item, None)
        groups[-1].append(item)
        total += more
    return groups
