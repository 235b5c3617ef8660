"""The reference of all parameters, docs/parameters.md: types and bounds from the code, the rest from params.yaml.

What a parameter is and what the paper has for it stand in the comments of params.yaml; which stages read it, in
dvc.yaml.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from abo_vqa.common.params import Params
from abo_vqa.common.params.group import Group

PAGE = Path("docs/parameters.md")
PIPELINE = Path("dvc.yaml")

HEAD = """# Parameters

Every value of [params.yaml](../params.yaml), made by `abo-vqa params --write` from the types that check it
(`src/abo_vqa/common/params/`), its comments, and the stages' `params` in [dvc.yaml](../dvc.yaml). Change one with
`dvc exp run -S NAME=VALUE`, or many with `abo-vqa preset NAME`; an unknown name, a wrong type or a value out of bounds
is refused before anything runs. Demo: the value in params.yaml. Paper: empty where the paper has no such thing, "not
given" where it has but does not say. NAME stands for a name of your own, N for a place in a list, from 0 on."""

TYPES = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null"}
BOUNDS = (("ge", "at least {}"), ("gt", "above {}"), ("le", "at most {}"), ("lt", "below {}"))


@dataclass(frozen=True)
class Parameter:
    """One parameter as the reference shows it; `demo` and `paper` are Markdown."""

    name: str
    type: str
    demo: str
    paper: str
    text: str
    stages: tuple[str, ...]


def render(params: str, pipeline: str) -> str:
    """Return the page, a section for every group of params.yaml, from the text of params.yaml and of dvc.yaml."""
    sections = [HEAD]
    found = parameters(params, pipeline)
    for group in dict.fromkeys(one.name.partition(".")[0] for one in found):
        rows = [
            [f"`{one.name}`", one.type, one.demo, one.paper, one.text, ", ".join(one.stages)]
            for one in found
            if one.name.partition(".")[0] == group
        ]
        table = [["parameter", "type", "demo", "paper", "what it is", "read by"], ["---"] * 6, *rows]
        sections += [f"## {group}", "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in table)]
    return "\n\n".join(sections) + "\n"


def parameters(params: str, pipeline: str) -> list[Parameter]:
    """Return every parameter in the order of the types, from the text of params.yaml and of dvc.yaml."""
    readers = _readers(YAML(typ="safe", pure=True).load(pipeline))
    lines = params.splitlines()
    return [
        Parameter(name, kind, demo, paper, text, tuple(stage for stage, read in readers if _covers(read, name)))
        for name, kind, demo, paper, text in _walk(Params, YAML().load(params), lines, "", "")
    ]


def _walk(group: type[Group], node: Any, lines: list[str], prefix: str, inherited: str) -> Iterator[tuple[str, ...]]:
    for attribute, field in group.model_fields.items():
        key = field.alias or attribute
        name, value, inner = f"{prefix}{key}", node[key], _group_in(field.annotation)
        text, paper = comment(lines, *node.lc.key(key))
        paper = paper or inherited
        if inner and get_origin(field.annotation) is None:
            yield from _walk(inner, value, lines, f"{name}.", paper)
            continue
        yield name, _type(field.annotation, field.metadata), _demo(value), paper, field.description or text
        if inner:
            # A group under every name, or at every place of a list: its values are described by the types alone.
            entries = value.items() if isinstance(value, Mapping) else enumerate(value)
            named = [(str(entry), held) for entry, held in entries]
            place = "NAME" if isinstance(value, Mapping) else "N"
            for each, own in inner.model_fields.items():
                shown = "; ".join(f"{entry}: {_demo(held[each])}" for entry, held in named if each in held)
                kind, note = _type(own.annotation, own.metadata), own.description or ""
                if not own.is_required():
                    note += f" (left out: {_scalar(own.default)})"
                yield f"{name}.{place}.{each}", kind, shown, paper if len(named) == 1 else "", note


def comment(lines: list[str], line: int, column: int) -> tuple[str, str]:
    """Return what the comments around a key say, and what they give as the paper's value.

    lines: of params.yaml; line, column: where the key is. Comments on its line, on lines of their own right below it
    and further in than the key, and on lines right above it, as far in as the key.
    """
    above = below = ""
    start = line
    while start and re.match(rf" {{{column}}}#", lines[start - 1]):
        start -= 1
        above = f"{lines[start].strip().lstrip('# ')} {above}"
    own = re.search(r"\s#\s+(.*)$", lines[line])
    for after in lines[line + 1 :]:
        if not re.match(rf" {{{column + 1},}}#", after):
            break
        below += " " + after.strip().lstrip("# ")
    whole = f"{above}{own[1] if own else ''}{below}".strip()
    text, _, paper = whole.replace("absent in the paper", "paper: ").partition("| paper:")
    return text.strip(), paper.strip()


def _group_in(annotation: Any) -> type[Group] | None:
    """Return the group that an annotation is, or that a dict or a list of it holds."""
    candidates = [annotation, *get_args(annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, Group)), None)


def _type(annotation: Any, metadata: Any = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [found for extra in arguments[1:] for found in _constraints(extra)])
    if origin is Literal:
        return " | ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    least = next((extra.min_length for extra in metadata if hasattr(extra, "min_length")), 0)
    if origin is list:
        return f"list{f' of at least {least}' if least else ''}: {_type(arguments[0])}"
    if origin is dict:
        return f"by name: {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Group):
        return ", ".join(annotation.model_fields)
    bounds = [
        words.format(f"{getattr(extra, key):,}") for extra in metadata for key, words in BOUNDS if hasattr(extra, key)
    ]
    return ", ".join([TYPES[annotation], *bounds])


def _constraints(extra: Any) -> list[Any]:
    return list(extra.metadata) if isinstance(extra, FieldInfo) else [extra]


def _demo(value: Any) -> str:
    if isinstance(value, Mapping):
        plain = all(not isinstance(held, Mapping) for held in value.values())
        return ", ".join(f"{key}: {_scalar(held)}" if plain else str(key) for key, held in value.items())
    if isinstance(value, list):
        return f"{len(value)} of them" if value and isinstance(value[0], Mapping) else ", ".join(map(_scalar, value))
    return _scalar(value)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{float(value):g}" if isinstance(value, float) else str(value)


def _readers(pipeline: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return each stage with the parameters it names, in the pipeline's order."""
    stages = ((name, stage.get("do", stage)) for name, stage in pipeline["stages"].items())
    return [(name, [str(read).partition(".${")[0] for read in stage.get("params", [])]) for name, stage in stages]


def _covers(read: list[str], name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in read)
