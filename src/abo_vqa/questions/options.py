"""Read the options of a generated entry in the forms that models write them in; what is unclear is not guessed."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

from abo_vqa.common.words import clean_text, fold, text_of

# Names of an entry's options and wrong options; the first one that is not empty counts.
_OPTIONS = (
    "options", "choices", "option", "choice", "alternatives", "candidates", "answer_options", "answer_choices",
    "possible_answers", "multiple_choice",
)  # fmt: skip
_DISTRACTORS = ("distractors", "wrong_answers", "incorrect_answers", "wrong_options", "incorrect_options")
# Within an option that is an object: names of its text and of its letter, in this order.
_TEXTS = ("text", "value", "content", "option", "choice", "answer", "description")
_LABELS = ("label", "letter", "key", "id", "index", "number", "name", "option", "choice")
# A, "b)", option_a, "Option 1", choice-2
_KEY = re.compile(r"[\W_]*(?:(?:option|choice|answer)[\W_]*)?([a-z]|\d{1,2})[\W_]*", re.IGNORECASE)
_OWN_KEY = re.compile(r"(?:option|choice)[\W_]*(?:[a-z]|\d{1,2})|[a-h]", re.IGNORECASE)
# Labels within one text: "A) red B) blue", "(1) red; (2) blue".
_LABEL = re.compile(r"(?:^|(?<=[\s,;|/]))[(\[]?([A-Za-z]|\d{1,2})[).:\]]+")
_BETWEEN = " \t\r\n,;|/"
_BULLETS = "-*• \t\r"
# Labels of options in a list: "A) red", "A red", "1. red".
_LISTED = re.compile(
    r"\s*(?:[(\[]?(?P<letter>[A-Za-z])\s*[).:\]]+\s*|(?P<bare>[A-H])\s+(?=\S)|[(\[]?(?P<number>\d{1,2})[).:\]]+\s+(?=\S))"
    r"(?P<text>.*)",
    re.DOTALL,
)
_BULLET = re.compile(r"\s*[-*•]\s+(?=\S)")
_LONGEST = 10_000  # characters of options in one text
_SEPARATORS = ("\n", ";", "|", ",", "/")


class Options(NamedTuple):
    """The options of an entry and its answer as texts; readable: False if the entry has options of an unknown form."""

    texts: list[str]
    answer: str
    readable: bool = True


def read_options(fields: Mapping[str, Any]) -> Options:
    """Return an entry's options; lettered ones keep their letters ("B) red").

    An entry may have a list, an object by letter or number, a list of objects, one text, or a field for each option.
    Without any, it has no options. Of objects by number, an answer that is a number is replaced by its option.
    """
    answer = clean_text(text_of(fields.get("answer")))
    given = _first(fields, _OPTIONS)
    if given is not None:
        return _read(given, answer)
    wrong = _first(fields, _DISTRACTORS)
    if wrong is not None:
        known = isinstance(wrong, list) and not any(map(_is_nested, wrong))
        return Options(_texts([answer, *wrong]), answer) if known else Options([], answer, readable=False)
    own = {key: fields[key] for key in fields if key not in _OPTIONS and _OWN_KEY.fullmatch(text_of(key))}
    if len(own) > 1:
        return _read(own, answer)
    others = (value for key, value in fields.items() if key not in ("question", "answer", "type"))
    unknown = own or any(isinstance(value, list | dict) and value for value in others)
    return Options([], answer, not unknown and not _labeled(text_of(fields.get("question"))))


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    given = (fields.get(name) for name in names)
    return next((value for value in given if not _is_missing(value)), None)


def _is_missing(value: Any) -> bool:
    if isinstance(value, list | dict):
        return not value
    return value is None or (isinstance(value, str | float) and not text_of(value).strip())


def _read(given: Any, answer: str) -> Options:
    unknown = Options([], answer, readable=False)
    if isinstance(given, str):
        return _spelled(given, answer) or unknown
    if isinstance(given, dict):
        return _keyed(list(given.items()), answer) or unknown
    if not isinstance(given, list):
        return unknown
    if all(isinstance(option, dict) for option in given):
        return _objects(given, answer) or unknown
    return unknown if any(map(_is_nested, given)) else _listed(_texts(given), answer) or unknown


def _listed(texts: list[str], answer: str) -> Options | None:
    """Return the options of a list without bullets and numbers; None if they are labeled in no order."""
    if all(map(_BULLET.match, texts)):
        texts = [_BULLET.sub("", text, count=1) for text in texts]
    labels = [found for text in texts if (found := _LISTED.match(text))]
    kinds = {next(kind for kind in ("letter", "bare", "number") if found[kind]) for found in labels}
    if len(labels) < max(len(texts), 2) or len(kinds) > 1:
        return Options(texts, answer)
    (kind,) = kinds
    if read := _keyed([(found[kind], found["text"]) for found in labels], answer):
        return read
    # "A lamp" and "A.M." begin with no label.
    spaced = all(re.search(r"\s\Z", found.string[: found.start("text")]) for found in labels)
    return None if kind == "number" or (kind == "letter" and spaced) else Options(texts, answer)


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | dict)


def _texts(values: Sequence[Any]) -> list[str]:
    return [clean_text(text_of(value)) for value in values]


def _keyed(pairs: Sequence[tuple[Any, Any]], answer: str) -> Options | None:
    """Return options by letter or number, in the order of these; None if they have gaps, or are neither."""
    keys = [found[1].lower() for key, _ in pairs if (found := _KEY.fullmatch(clean_text(text_of(key))))]
    if not pairs or len(keys) < len(pairs) or any(_is_nested(value) for _, value in pairs):
        return None
    places = [int(key) if key.isdigit() else ascii_lowercase.index(key) for key in keys]
    numbered = {key.isdigit() for key in keys}
    first = min(places)
    if numbered == {True, False} or first > any(numbered) or sorted(places) != [*range(first, first + len(pairs))]:
        return None
    order = sorted(range(len(pairs)), key=places.__getitem__)
    texts = _texts([pairs[place][1] for place in order])
    meant = _KEY.fullmatch(answer)
    if numbered == {False}:
        if meant and fold(answer) not in set(map(fold, texts)):
            answer = meant[1].upper()
        return Options([f"{keys[place].upper()}) {text}" for place, text in zip(order, texts, strict=True)], answer)
    if meant and meant[1].isdigit() and 0 <= int(meant[1]) - first < len(texts):
        named, known = texts[int(meant[1]) - first], {fold(text) for text in texts}
        # A number that is both a key and an option could mean either.
        if fold(answer) in known and fold(named) != fold(answer):
            return None
        answer = named
    return Options(texts, answer)


def _objects(given: Sequence[Mapping[str, Any]], answer: str) -> Options | None:
    """Return options that are objects: {"A": "red"}, {"label": "A", "text": "red"} or {"text": "red"}."""
    pairs: list[tuple[Any, Any]] = []
    for option in given:
        if len(option) == 1 and not set(option) & set(_TEXTS):
            pairs += list(option.items())
            continue
        name = next((name for name in _TEXTS if name in option), None)
        if name is None:
            return None
        labels = (option[other] for other in _LABELS if other in option and other != name)
        pairs.append((next((label for label in labels if not _is_nested(label)), None), option[name]))
    if all(label is None for label, _ in pairs):
        texts = [text for _, text in pairs]
        return None if any(map(_is_nested, texts)) else Options(_texts(texts), answer)
    return _keyed(pairs, answer)


def _spelled(given: str, answer: str) -> Options | None:
    """Return options in one text: JSON, Python's spelling, lettered or numbered ones, or a list with separators."""
    text = clean_text(given).strip()
    if len(text) > _LONGEST:
        return None
    if text[:1] in ("[", "{", "("):
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                continue
            if isinstance(value, list | tuple | dict):
                return _read(list(value) if isinstance(value, tuple) else value, answer)
    if labeled := _labeled(text):
        return _keyed(labeled, answer)
    if _LABEL.search(text):
        return None
    for separator in _SEPARATORS:
        parts = [part.strip(_BULLETS) for part in text.split(separator)]
        # Whether commas separate options or are part of one, only the answer can tell.
        if len(parts) > 1 and all(parts) and fold(answer) in set(map(fold, parts)) - {""}:
            return Options(parts, answer)
    return None


def _labeled(text: str) -> list[tuple[str, str]]:
    """Return a text's options with their labels a, b, c, ... or 1, 2, 3, ...; empty if it does not begin with them.

    In a question, labels may come after it.
    """
    labels = list(_LABEL.finditer(text))
    keys = [label[1].lower() for label in labels]
    wanted = [str(place + 1) if keys[:1] == ["1"] else ascii_lowercase[place] for place in range(min(len(keys), 26))]
    if len(keys) < 2 or keys != wanted:
        return []
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return [(label[1], text[label.end() : end].strip(_BETWEEN)) for label, end in zip(labels, ends, strict=True)]
