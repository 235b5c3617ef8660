"""The beginnings of the texts of a listing that the paper's sampler hashes into strata."""

import json

import msgspec

from abo_vqa.catalog.listing import Text, storable, texts

STRATUM_TEXTS = ("item_keywords", "node", "bullet_point")
_BEGINNING = 50  # characters of a stratum's text, as in the paper's sampler


class _Node(msgspec.Struct, gc=False):
    path: str | None = None


class _StratumRecord(msgspec.Struct, gc=False):
    """The ABO keys of the STRATUM_TEXTS, in the form of nearly all listings."""

    item_keywords: list[Text] = []
    node: list[_Node] = []
    bullet_point: list[Text] = []


_decoder = msgspec.json.Decoder(_StratumRecord)


def read_stratum_texts(line: bytes) -> tuple[str | None, ...]:
    """Return the beginning of each of the STRATUM_TEXTS of a line that read_facts can read; None if it is missing."""
    try:
        record = _decoder.decode(line)
    except (ValueError, RecursionError):
        given = json.loads(line)
        nodes = given.get("node") if isinstance(given.get("node"), list) else []
        paths = [node["path"] for node in nodes if isinstance(node, dict) and isinstance(node.get("path"), str)]
        record = _StratumRecord(
            texts(given.get("item_keywords")), [_Node(path=path) for path in paths], texts(given.get("bullet_point"))
        )
    path = record.node[0].path if record.node else None
    firsts = (
        record.item_keywords[0].value if record.item_keywords else None,
        path,
        record.bullet_point[0].value if record.bullet_point else None,
    )
    return tuple(storable(text[:_BEGINNING]) if text else None for text in firsts)
