"""The reference of all parameters, docs/parameters.md.

Types, bounds and defaults come from the JSON schema that pydantic derives from the types; texts, values and the
paper's values from params.yaml and its comments; the stages from dvc.yaml.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from abo_vqa.common.params import Params

PAGE = Path("docs/parameters.md")
PIPELINE = Path("dvc.yaml")

HEAD = """# Parameters

Every value of [params.yaml](../params.yaml), made by `abo-vqa params --write` from the types that check it
(`src/abo_vqa/common/params/`), its comments, and the stages' `params` in [dvc.yaml](../dvc.yaml). Change one with
`dvc exp run -S NAME=VALUE`, or many with `abo-vqa preset NAME`; an unknown name, a wrong type or a value out of bounds
is refused before anything runs. Demo: the value in params.yaml. Paper: empty where the paper has no such thing, "not
given" where it has but does not say. NAME stands for a name of your own, N for a place in a list, from 0 on."""

SCHEMA: dict[str, Any] = Params.model_json_schema(by_alias=True)
TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


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
        for name, kind, demo, paper, text in _walk(SCHEMA, YAML().load(params), lines)
    ]


def _walk(
    group: Mapping[str, Any], node: Any, lines: list[str], prefix: str = "", inherited: str = ""
) -> Iterator[tuple[str, ...]]:
    for key, field in group["properties"].items():
        name, value = f"{prefix}{key}", node.get(key, field.get("default"))
        text, paper = comment(lines, *node.lc.key(key)) if key in node else ("", "")
        paper = paper or inherited
        if "$ref" in field:
            yield from _walk(_group(field), value, lines, f"{name}.", paper)
            continue
        yield name, _type(field), _demo(value), paper, field.get("description", text)
        entry = field.get("additionalProperties") or field.get("items") or {}
        if "$ref" in entry:
            # A group under every name, or at every place of a list: the schema alone describes its values.
            place, named = ("NAME", value) if isinstance(value, Mapping) else ("N", dict(enumerate(value)))
            for each, own in _group(entry)["properties"].items():
                shown = "; ".join(f"{one}: {_demo(held[each])}" for one, held in named.items() if each in held)
                note = own.get("description", "")
                if each not in _group(entry).get("required", []):
                    note += f" (left out: {_scalar(own['default'])})"
                yield f"{name}.{place}.{each}", _type(own), shown, paper if len(named) == 1 else "", note
        elif "additionalProperties" in field:
            for each, held in value.items():
                text, own_paper = comment(lines, *value.lc.key(each))
                if text:
                    yield f"{name}.{each}", _type(entry), _demo(held), own_paper or paper, text


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


def _group(reference: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the group that a "$ref" names."""
    found: Mapping[str, Any] = SCHEMA["$defs"][reference["$ref"].rpartition("/")[2]]
    return found


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return ", ".join(_group(schema)["properties"])
    if "enum" in schema:
        return " | ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema["type"] == "array":
        least = f" of at least {schema['minItems']}" if "minItems" in schema else ""
        return f"list{least}: {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"by name: {_type(schema['additionalProperties'])}"
    return ", ".join([TYPES[schema["type"]], *(f"{BOUNDS[key]} {schema[key]:,}" for key in BOUNDS if key in schema)])


def _demo(value: Any) -> str:
    if isinstance(value, Mapping):
        plain = all(not isinstance(held, Mapping) for held in value.values())
        return ", ".join(f"{key}: {_scalar(held)}" if plain else str(key) for key, held in value.items())
    if isinstance(value, list):
        return f"{len(value)} of them" if value and isinstance(value[0], Mapping) else ", ".join(map(_scalar, value))
    return _scalar(value)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", "<br>")


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
