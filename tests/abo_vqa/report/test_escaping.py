"""Nothing that a person or a model wrote becomes an element of a page: HTML is planted in all that reaches one."""

from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from abo_vqa.common.figures import figure
from abo_vqa.common.schema import SPLITS
from abo_vqa.report.html import Provenance, render_report
from abo_vqa.report.tables import render
from abo_vqa.statistics.display import markdown_table, plain
from pretended import options_help

PLANT = """<script>f()"><img src=x onerror=f()>`<b>[l](x)![i](x)<http:x> | &lt;"""  # no slash: it marks counterparts
TRAINING = {
    "parameters": 1, "trainable_parameters": 1, "trainable_share": 1.0, "questions": 1, "steps": 1,
    "validation_accuracy": None, "clipped_share": 0.5,
}  # fmt: skip
LABELS = {"compared": 1, "contradict": 1, "share": 1.0, "low": 0.5, "high": 1.0}
OPINIONS = {"asked": 1, "agree": 1, "share": 1.0, "low": 0.5, "high": 1.0}
SPLIT = {"products": 1, "questions": 1, "groups": 1, "largest_group": 1, "groups_by_size": {"1": 1}}
WATCHED = {
    "script",
    "img",
    "a",
    "b",
    "details",
    "select",
    "option",
    "article",
    "iframe",
    "svg",
    "link",
    "form",
    "input",
}


class Elements(HTMLParser):
    """Counts the elements of a page, each with the names of its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[tuple[str, ...]] = Counter()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found[tag, *sorted(name for name, _ in attrs if not name.startswith("data-right"))] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def planted(value: Any, names: frozenset[str] | None) -> Any:
    """Return the value with PLANT at the end of every text in it: of all, or of the names and what is made of them."""

    def text(given: str) -> str:
        if names is None or given in names:
            return given + PLANT
        first, slash, rest = given.partition("/")
        return f"{first}{PLANT}/{rest}" if slash and first in names else given

    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {text(key): planted(held, names) for key, held in value.items()}
    return [planted(held, names) for held in value] if isinstance(value, list | tuple) else value


def names_in(comparison: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of models, runs, conditions, question types and baselines."""
    results = next(iter(next(iter(comparison["results"].values())).values()))
    known = {*comparison["models"], *results["by_type"], *(run for of in comparison["runs"].values() for run in of)}
    known |= {name for name in comparison["conditions"] if "/" not in name} | set(comparison["audit"]["test"])
    # "chance" is a key of other tables, too.
    return frozenset(known | {name for part in comparison["audit"]["test"].values() for name in part} - {"chance"})


def report(change: Any) -> str:
    comparison = options_help()
    names = names_in(comparison)
    question = {
        "qa_id": "q", "question_type": "color", "question": "What?", "options": ["red", "blue"], "answer": "blue",
    }  # fmt: skip
    said = {"right": False, "some": True, "count": change("1/3", None), "wrong": [change("red", None)]}
    by_model = dict.fromkeys(change(comparison["models"], names), said)
    answers = {change("open", names): {"options": change(["red"], None), "by_model": by_model}}
    asked = change_values(question, change) | {"answers": answers}
    card = {"image": b"", **change_values({"image_id": "i", "path": "00/i.jpg"}, change), "questions": [asked]}
    parts = {"data": {"a": "b"}, "versions": {"torch": "2"}, "parameters": "arms: {}"}
    shown = change(comparison, names)
    explained = {name: change("what it shows", None) for name in shown["conditions"]}
    labels = {"against_listings": {change("color", None): LABELS}, "second_opinion": {change("color", None): OPINIONS}}
    return render_report(
        shown, {change("options", names): TRAINING},
        {name: b"" for name in ("forest", "curves", "audit", "calibration", "confusion", change("own", None))}, [card],
        Provenance(**change_values(parts, change)), labels, explained,
        [change(name, names) for name in ("open", "options")], dict.fromkeys(SPLITS, SPLIT),
    )  # fmt: skip


def change_values(parts: Mapping[str, Any], change: Any) -> dict[str, Any]:
    return {name: change(value, None) for name, value in parts.items()}


def test_no_text_becomes_an_element_of_the_report() -> None:
    before = Elements(report(lambda value, names: value))
    after = Elements(report(planted))
    assert after.text.count("<script>f()") > 100, "the plants are shown"
    # The audit's table looks its conditions up by name, and has no rows for others.
    assert set(after.found) <= set(before.found)
    live = [{key: count for key, count in page.found.items() if key[0] in WATCHED} for page in (before, after)]
    assert live[0] == live[1] and live[1][("script",)] == 1


def live(markdown: str) -> list[str]:
    """Return the HTML, links and images that a reader of Markdown finds."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        for one in [token, *(token.children or [])]:
            if one.type in ("html_block", "html_inline", "link_open", "image"):
                found.append(one.content or one.type)
    return found


def test_no_text_becomes_an_element_of_the_comparison_as_markdown() -> None:
    comparison = options_help()
    assert live(render(comparison)) == []
    # Not in the names of conditions: these are shown as code, and params.yaml's rule for names keeps backticks out.
    text = render(planted(comparison, names_in(comparison) - set(comparison["conditions"])))
    assert live(text) == []
    assert text.count("script") > 100


@pytest.mark.parametrize(
    "text", [PLANT, "**a** _b_ *c*", "a\\", "a_b no_question", "1 < 2 & 3", "x\r\n| y |", "&amp;", ""]
)
def test_a_cell_shows_its_text(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").render(markdown_table(["name", text], [[text, "b"], ["c", "1"]]))
    found = Elements(page)
    assert found.found[("td",)] + found.found[("td", "style")] == 4
    assert not {tag for tag, *_ in found.found} & {"script", "img", "a", "em", "strong"}
    if "`" not in text:
        assert found.text.count(" ".join(text.split("\r\n"))) >= 2


def test_words_and_figures_are_left_as_they_are() -> None:
    for text in (
        "no_question",
        "options-1",
        "+3.0",
        "−2",
        "49.9 to 54.8",
        "`no_question`",
        "BERTScore F1 (a)",
        "✓ 1/3",
    ):
        assert plain(text) == text


def test_a_brand_is_text_in_a_figure(tmp_path: Path) -> None:
    for text in (PLANT, "$x^{", "a $ b $ c"):
        with figure(tmp_path / "a.svg", 4, 3) as drawn:
            drawn.subplots().set_title(text)
        tags = {element.tag.partition("}")[2] for element in ElementTree.parse(tmp_path / "a.svg").iter()}
        assert not tags & {"script", "img", "a", "b"}
        assert text in "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())
