"""Answer all prompts about an image together: the image encoded once, its prompts and their options as a tree.

The image prefix stays in the key-value cache; prompts attend to it and themselves, options to it, their prompt and
themselves. Exact: each option has the log-probability, and each prompt the greedy answer, of a separate sequence.
Options double as drafts: as long as the most likely tokens follow an option, no further forward pass is needed.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count, islice
from typing import Any, Literal

import torch
from transformers import DynamicCache

from abo_vqa.common.errors import InputError
from abo_vqa.model.base.memory import free_memory, gpu_memory, pass_tokens
from abo_vqa.model.collators import check_length
from abo_vqa.model.features import as_model_input
from abo_vqa.model.finite import check_finite
from abo_vqa.model.shared_image import ImageCollator

PREFIX = 0  # owner of the shared image's tokens


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
    """A prompt in a forward pass: its owner number, its length, the place of its last token, and the answer so far.

    options: token ids of each; starts: the place of each option's first token; scores: their log-probabilities.
    """

    owner: int
    length: int
    end: int
    options: list[list[int]]
    starts: list[int] = field(default_factory=list)
    scores: tuple[float, ...] = ()
    generated: list[int] = field(default_factory=list)


class Scorer:
    """Answers prompts with one model; `tokens_per_pass` bounds the text tokens of a forward pass, and so memory."""

    def __init__(
        self, model: Any, collator: ImageCollator, max_new_tokens: int, tokens_per_pass: int | Literal["auto"]
    ) -> None:
        """Take a model in evaluation mode and a collator with its images."""
        self._model, self._collator, self._max_new_tokens = model, collator, max_new_tokens
        self._tokens_per_pass = pass_tokens(tokens_per_pass, model.config.get_text_config().vocab_size, gpu_memory())
        self._tokenizer, self._ends = collator.tokenizer, collator.processor.ends
        # Options recur in every order and under every condition.
        self._encoded = cache(lambda option: self._tokenizer.encode(option, add_special_tokens=False))

    def ask(self, image_id: str, prompts: Sequence[Prompt]) -> list[Answer]:
        """Return the answer to each prompt about an image; InputError for a bad image or too long a prompt.

        Where the GPU's memory runs out, it is tried again in passes of half the tokens, down to a prompt each.
        """
        while True:
            try:
                return self._ask(image_id, prompts)
            except torch.OutOfMemoryError as error:
                self._halve(image_id, error)
            # Not within `except`: there, the error holds what the failed pass has computed.
            free_memory()

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
    def _ask(self, image_id: str, prompts: Sequence[Prompt]) -> list[Answer]:
        distinct = list(dict.fromkeys(prompts))
        prefix, inputs = self._collator.image_prefix(image_id)
        asked = [self._collator.prompt_tokens(prompt.text) for prompt in distinct]
        drafts = [[self._encoded(option) for option in prompt.options] for prompt in distinct]
        for prompt, tokens, options in zip(distinct, asked, drafts, strict=True):
            longest = max([self._max_new_tokens, *(len(option) + 1 for option in options)])
            check_length(
                f"{image_id}: {prompt.text[:80]!r}", len(prefix) + len(tokens) + longest, self._collator.context
            )
        tree, owners = _Tree(self._model, image_id, prefix, inputs), count(PREFIX + 1)
        branches: list[_Branch] = []
        going: list[_Branch] = []
        for part in self._passes(asked, drafts):
            branches += self._read(tree, [asked[place] for place in part], [drafts[place] for place in part], owners)
            # Answers that are not finished go on together: the fewer the passes, the faster.
            going = [branch for branch in branches if not self._finished(branch)]
            if sum(branch.length for branch in going) > self._tokens_per_pass:
                self._generate(tree, going)
                going = []
            tree.forget_prompts(but=[branch.owner for branch in going])
        self._generate(tree, going)
        answers = dict(zip(distinct, map(self._answered, branches), strict=True))
        return [answers[prompt] for prompt in prompts]

    def _passes(self, asked: Sequence[Sequence[int]], drafts: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
        """Group the prompts into forward passes of at most `tokens_per_pass` tokens, or of a single larger prompt."""
        passes: list[list[int]] = []
        tokens = 0
        for place, (prompt, options) in enumerate(zip(asked, drafts, strict=True)):
            size = len(prompt) + sum(map(len, options))
            if not passes or tokens + size > self._tokens_per_pass:
                passes.append([])
                tokens = 0
            passes[-1].append(place)
            tokens += size
        return passes

    def _read(
        self, tree: "_Tree", asked: list[list[int]], drafts: list[list[list[int]]], owners: Iterator[int]
    ) -> list[_Branch]:
        """Return the prompts with their options' scores and, where an option predicts it, the generated answer."""
        branches = []
        segments: list[_Segment] = []
        # Owners decide which tokens attend to which (_Tree.read); places index the pass, and so its logits.
        place = 0
        for prompt, options in zip(asked, drafts, strict=True):
            segments.append(_Segment(prompt, next(owners), PREFIX, 0))
            place += len(prompt)
            branch = _Branch(segments[-1].owner, len(prompt), place - 1, options)
            for option in options:
                # All options start at the same depth: each continues the prompt as if it were the only one.
                segments.append(_Segment(option, next(owners), branch.owner, len(prompt)))
                branch.starts.append(place)
                place += len(option)
            branches.append(branch)
        # Only a prompt's last token and its options' tokens predict answers; the LM head is skipped for the others.
        wanted = sorted([b.end for b in branches] + [p for s, p in _placed(segments) if s.parent != PREFIX])
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

    def _generate(self, tree: "_Tree", branches: Sequence[_Branch]) -> None:
        """Generate the tokens that no option predicted, one per unfinished answer and pass."""
        read = dict.fromkeys((branch.owner for branch in branches), 0)
        while going := [branch for branch in branches if not self._finished(branch)]:
            segments = [
                _Segment(b.generated[read[b.owner] :], b.owner, PREFIX, b.length + read[b.owner]) for b in going
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


@dataclass(frozen=True)
class _Segment:
    """Consecutive tokens. owner: their number; parent: the owner that they also attend to; depth: of the first, in
    tokens after the image."""

    tokens: Sequence[int]
    owner: int
    parent: int
    depth: int


def _placed(segments: Sequence[_Segment]) -> list[tuple[_Segment, int]]:
    """Return every token's segment and place in the pass."""
    each = [segment for segment in segments for _ in segment.tokens]
    return [(segment, place) for place, segment in enumerate(each)]


class _Tree:
    """An image in a key-value cache, then segments that attend to the image, their parent and themselves."""

    def __init__(self, model: Any, image_id: str, prefix: Sequence[int], inputs: Mapping[str, Any]) -> None:
        self._model, self._image_id, self._depth = model, image_id, len(prefix)
        self._cache = DynamicCache()
        self._owners = torch.full((len(prefix),), PREFIX)
        seen = torch.ones(1, 1, len(prefix), len(prefix), dtype=torch.bool).tril()
        positions = torch.arange(len(prefix))
        self._forward(torch.tensor(prefix), positions, seen, torch.tensor([len(prefix) - 1]), inputs)

    def read(self, segments: Sequence[_Segment], wanted: Sequence[int]) -> torch.Tensor:
        """Append segments; return the logits at the wanted places, of shape (wanted, vocabulary)."""
        ids = torch.tensor([token for segment in segments for token in segment.tokens])
        owners, parents, positions = (
            torch.tensor(values)
            for values in zip(
                *(
                    (segment.owner, segment.parent, self._depth + segment.depth + place)
                    for segment in segments
                    for place in range(len(segment.tokens))
                ),
                strict=True,
            )
        )
        before = self._owners
        self._owners = torch.cat([before, owners])
        seen = (self._owners == PREFIX) | (self._owners == owners[:, None]) | (self._owners == parents[:, None])
        seen[:, len(before) :] &= torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        return self._forward(ids, positions, seen[None, None], torch.tensor(wanted), {})

    def forget_prompts(self, but: Sequence[int]) -> None:
        """Reduce the cache to the image and the prompts whose owners are given."""
        kept = torch.isin(self._owners, torch.tensor([PREFIX, *but]))
        self._owners = self._owners[kept]
        layers: Any = self._cache.layers
        for layer in layers:
            layer.keys, layer.values = (states[:, :, kept.to(states.device)] for states in (layer.keys, layer.values))

    def _forward(
        self, ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, wanted: torch.Tensor, inputs: Any
    ) -> torch.Tensor:
        device = self._model.device
        known = {name: value.to(device) for name, value in inputs.items() if name != "image_features"}
        if "image_features" in inputs:
            known |= as_model_input([feature.to(device) for feature in inputs["image_features"]])
        found = self._model(
            input_ids=ids[None].to(device),
            position_ids=positions[None].to(device),
            attention_mask=seen.to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=wanted.to(device),
            **known,
        )
        check_finite(found.logits, "logits", self._image_id, self._model)
        return found.logits[0]
