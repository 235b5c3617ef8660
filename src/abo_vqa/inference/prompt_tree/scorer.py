"""Answer all prompts about an image together: the image encoded once, its prompts and their options as a tree.

The image prefix stays in the key-value cache; prompts attend to it and themselves, options to it, their prompt and
themselves. On a GPU several images are asked together, each with a tree of its own in the same cache. Exact: each
option has the log-probability, and each prompt the greedy answer, of a separate sequence.
Options double as drafts: as long as the most likely tokens follow an option, no further forward pass is needed.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count, islice
from typing import Any, Literal

import torch

from abo_vqa.common.errors import InputError
from abo_vqa.inference.prompt_tree.tree import Segment, Tree, placed
from abo_vqa.model.base.memory import free_memory, gpu_memory, pass_tokens
from abo_vqa.model.collators import check_length
from abo_vqa.model.shared_image import ImageCollator


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
    """A prompt in a forward pass: its owner number and its image's, its length, its last token's place, and the answer.

    options: token ids of each; starts: the place of each option's first token; scores: their log-probabilities.
    """

    owner: int
    image: int
    length: int
    end: int
    options: list[list[int]]
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
        self._model, self._collator, self._max_new_tokens = model, collator, max_new_tokens
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
        sizes = {image: sum(map(self._size, of)) for image, of in prompts.items()}
        return _grouped(sizes, self._tokens_per_pass)

    def _size(self, prompt: Prompt) -> int:
        return len(self._collator.prompt_tokens(prompt.text)) + sum(len(self._encoded(o)) for o in prompt.options)

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
        prefixes = {image: self._collator.image_prefix(image) for image in prompts}
        distinct = [(-place, image, p) for place, image in enumerate(prompts) for p in dict.fromkeys(prompts[image])]
        asked = [self._collator.prompt_tokens(prompt.text) for _, _, prompt in distinct]
        drafts = [[self._encoded(option) for option in prompt.options] for _, _, prompt in distinct]
        for (_, image, prompt), tokens, options in zip(distinct, asked, drafts, strict=True):
            longest = max([self._max_new_tokens, *(len(option) + 1 for option in options)])
            length = len(prefixes[image][0]) + len(tokens) + longest
            check_length(f"{image}: {prompt.text[:80]!r}", length, self._collator.context)
        tree, owners = Tree(self._model, prefixes), count(1)
        branches: list[_Branch] = []
        going: list[_Branch] = []
        sizes = {place: len(p) + sum(map(len, o)) for place, (p, o) in enumerate(zip(asked, drafts, strict=True))}
        for part in _grouped(sizes, self._tokens_per_pass):
            chosen = [(distinct[place][0], asked[place], drafts[place]) for place in part]
            branches += self._read(tree, chosen, owners)
            # Answers that are not finished go on together: the fewer the passes, the faster.
            going = [branch for branch in branches if not self._finished(branch)]
            if sum(branch.length for branch in going) > self._tokens_per_pass:
                self._generate(tree, going)
                going = []
            tree.forget_prompts(but=[branch.owner for branch in going])
        self._generate(tree, going)
        places = ((image, prompt) for _, image, prompt in distinct)
        answers = dict(zip(places, map(self._answered, branches), strict=True))
        return {image: [answers[image, prompt] for prompt in of] for image, of in prompts.items()}

    def _read(
        self, tree: Tree, asked: Sequence[tuple[int, list[int], list[list[int]]]], owners: Iterator[int]
    ) -> list[_Branch]:
        """Return the prompts with their options' scores and, where an option predicts it, the generated answer.

        asked: of every prompt the image's owner, its tokens and those of its options.
        """
        branches = []
        segments: list[Segment] = []
        # Owners decide which tokens attend to which (Tree.read); places index the pass, and so its logits.
        place = 0
        for image, prompt, options in asked:
            segments.append(Segment(prompt, next(owners), image, image, 0))
            place += len(prompt)
            branch = _Branch(segments[-1].owner, image, len(prompt), place - 1, options)
            for option in options:
                # All options start at the same depth: each continues the prompt as if it were the only one.
                segments.append(Segment(option, next(owners), branch.owner, image, len(prompt)))
                branch.starts.append(place)
                place += len(option)
            branches.append(branch)
        # Only a prompt's last token and its options' tokens predict answers; the LM head is skipped for the others.
        wanted = sorted([b.end for b in branches] + [p for s, p in placed(segments) if s.parent > 0])
        logits = tree.read(segments, wanted)
        likeliest = dict(zip(wanted, logits.argmax(-1).tolist(), strict=True))
        for branch, scores in zip(branches, self._option_scores(branches, wanted, logits), strict=True):
            branch.scores = scores
            # It needs no forward pass, so it is tried first; most answers end here.
            self._follow_options(branch, likeliest)
        return branches

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
        read = dict.fromkeys((branch.owner for branch in branches), 0)
        while going := [branch for branch in branches if not self._finished(branch)]:
            segments = [
                Segment(b.generated[read[b.owner] :], b.owner, b.image, b.image, b.length + read[b.owner])
                for b in going
            ]
            ends, place = [], -1
            for branch, segment in zip(going, segments, strict=True):
                place += len(segment.tokens)
                ends.append(place)
                read[branch.owner] = len(branch.generated)
            for branch, row in zip(going, tree.read(segments, ends), strict=True):
                branch.generated.append(int(row.argmax()))

    def _finished(self, branch: _Branch) -> bool:
        said = branch.generated
        return len(said) == self._max_new_tokens or (bool(said) and said[-1] in self._ends)


def _grouped(sizes: Mapping[Any, int], most: int) -> list[list[Any]]:
    """Divide what has these sizes, in order, into groups of at most `most`, or of a single larger one."""
    groups: list[list[Any]] = []
    total = 0
    for key, size in sizes.items():
        if not groups or total + size > most:
            groups.append([])
            total = 0
        groups[-1].append(key)
        total += size
    return groups
