"""The report says what the tables say, loads nothing, escapes what it shows, and its gallery can be filtered."""

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from abo_vqa.audit.stage import PLOT
from abo_vqa.common.errors import InputError
from abo_vqa.common.figures import figure
from abo_vqa.common.layout import ACCURACY, POST_CLIP, PRE_CLIP
from abo_vqa.common.params import check_params, read_params
from abo_vqa.common.schema import SPLITS
from abo_vqa.common.tracking.run import find_run
from abo_vqa.common.tracking.store import open_store
from abo_vqa.comparison.stage import main as compare
from abo_vqa.comparison.words import headlines, in_words
from abo_vqa.metrics.answers import calibration, expected_calibration_error
from abo_vqa.report.confusion import OTHER, confusable, confusion
from abo_vqa.report.explain import explain
from abo_vqa.report.html import pick_example, pick_gallery
from abo_vqa.report.plots import FIGURES, Figures
from abo_vqa.report.stage import PLOTS, REPORT, TABLE, main, provenance
from abo_vqa.report.tables import render, summary
from abo_vqa.statistics.display import percent, span
from paths import ROOT
from pretended import MODELS, PLANNED, SEEDS, replicated, write_project
from project import chromium

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

# The words that are shown and stand on two lines, or reach out of the page or of what clips them.
CUT_WORDS = """() => {
  const cut = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (["SCRIPT", "STYLE", "OPTION"].includes(parent.tagName) || !parent.checkVisibility()) continue;
    const clip = parent.closest(".wide")?.getBoundingClientRect();
    for (const found of node.data.matchAll(/[^\\s\\-\\/]+/g)) {
      const range = document.createRange();
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const boxes = [...range.getClientRects()];
      const lines = new Set(boxes.map(box => Math.round(box.top)));
      const right = Math.min(clip?.right ?? Infinity, document.documentElement.clientWidth) + 1;
      if (lines.size > 1 || boxes.some(box => box.left < 0 || box.right > right)) cut.push(found[0]);
    }
  }
  return cut;
}"""

TRAINED = [f"{arm}-{seed}" for arm in MODELS[1:] for seed in SEEDS]
# reports/training/MODEL.json as a training writes it.
TOOK = {
    "clipped_share": 0.775,
    "final_loss": 0.22,
    "parameters": 2_092_160,
    "questions": 1600,
    "steps": 178,
    "trainable_parameters": 163_840,
    "trainable_share": 0.0783,
    "validation_accuracy": 0.73,
}


def jpeg(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(buffer, "jpeg")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_store: bytes) -> Path:
    """A project whose report is made, from predictions of models that know more or less."""
    folder = tmp_path_factory.mktemp("report")
    root = ROOT
    write_project(folder, root, replicated(0.05, base=0.4, standard=0.5, options=0.8), empty_store)
    questions = pd.read_parquet(folder / "tables/splits/test.parquet")
    questions.loc[questions["qa_id"] == "q0000", "question"] = "<script>document.title = 'taken over'</script> & so?"
    questions.to_parquet(folder / "tables/splits/test.parquet")
    images = [
        {"image_id": image_id, "image": {"bytes": jpeg((place % 256, 80, 80)), "path": None}}
        for place, image_id in enumerate(sorted(set(questions["image_id"])))
    ]
    pd.DataFrame(images).to_parquet(folder / "tables/sample.parquet")
    for name in ("reports/curves", "reports/plots"):
        (folder / name).mkdir()
    for model in TRAINED:
        curve = pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5], PRE_CLIP: [2.0, 0.1], POST_CLIP: [0.3, 0.1]})
        curve.assign(**{ACCURACY: [None, 0.7]}).to_csv(folder / f"reports/curves/{model}.csv", index=False)
        (folder / f"reports/training/{model}.json").write_text(json.dumps(TOOK))
    truth = {"color": {"compared": 40, "contradict": 6, "share": 0.15, "low": 0.071, "high": 0.291}}
    opinions = {"counting": {"asked": 30, "agree": 27, "share": 0.9, "low": 0.744, "high": 0.965}}
    told = {"against_listings": truth, "second_opinion": opinions}
    (folder / "reports/validation.json").write_text(json.dumps(told))
    part = {"products": 9, "questions": 40, "groups": 7, "largest_group": 3, "groups_by_size": {"1": 6, "3": 1}}
    (folder / "reports/split.json").write_text(json.dumps(dict.fromkeys(SPLITS, part)))
    shutil.copy(root / PLOT, folder / PLOT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        compare()
        main()
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, project: Path) -> Iterator[Page]:
    """The report, open; fails if it asked for anything but itself, or its script broke."""
    page = browser.new_page(viewport=DESKTOP)
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto((project / REPORT).as_uri())
    yield page
    assert [url for url in asked if not url.startswith("data:")] == [(project / REPORT).as_uri()]
    assert not broken
    page.close()


def test_the_report_holds_what_the_comparison_holds(project: Path, page: Page):
    comparison = json.loads((project / "reports/comparison.json").read_text())
    params = read_params(project / "params.yaml")
    verdict = page.locator(".verdict > li")
    words = in_words(comparison)["questions"]
    assert verdict.locator("h3").all_inner_texts() == [row["question"] for row in words]
    for place, row in enumerate(words):
        badges = {text.lower() for text in verdict.nth(place).locator("summary .badge").all_inner_texts()}
        assert badges == {part["answer"].split(",")[0] for part in row["parts"]}
    rows = page.locator(".factorial tr").all()
    assert rows[0].locator("th").all_inner_texts()[1:4] == MODELS
    for row, condition in zip(rows[1:], PLANNED, strict=True):
        told = row.locator("th").inner_text()
        assert told.startswith(condition) and explain(params.conditions()[condition]) in told
        cells = [re.sub(r"\s+", " ", text) for text in row.locator("td").all_inner_texts()]
        totals = [comparison["results"][model][condition]["total"] for model in MODELS]
        assert cells[:3] == [f"{percent(total['accuracy'], 1)} {span(total)}" for total in totals]
    drawn = {image.get_attribute("alt") for image in page.locator("img.figure").all()}
    assert len(drawn) == 5
    widths = page.evaluate("[...document.querySelectorAll('img')].map(image => image.naturalWidth)")
    assert min(widths) > 0


def test_the_groups_of_the_splits_are_told(page: Page) -> None:
    rows = page.locator("#splits tr")
    assert rows.nth(1).locator("td").all_text_contents() == ["train", "9", "40", "7", "3", "6 of 1, 1 of 3"]


def test_labels_that_contradict_the_listings_are_told(page: Page) -> None:
    row = page.locator("#labels table").first.locator("tr").nth(1)
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in row.locator("td").all_text_contents()] == [
        "color",
        "40",
        "6",
        "15 %",
        "7 % to 29 %",
    ]


def test_second_opinions_are_told(page: Page) -> None:
    row = page.locator("#opinions ~ .wide table").first.locator("tr").nth(1)
    texts = [text.replace("\N{NO-BREAK SPACE}", " ") for text in row.locator("td").all_text_contents()]
    assert texts == ["counting", "30", "27", "90 %", "74 % to 96 %"]


def test_what_made_it_is_told(project: Path, page: Page):
    shown = yaml.safe_load(page.locator("pre").text_content() or "")
    params = read_params(project / "params.yaml")
    assert check_params(shown) == params
    packages = page.locator("#made tr td:first-child").all_text_contents()
    assert {"torch", "trl", "mlflow"} <= set(packages)
    page.locator("#made > summary").click()
    assert page.get_by_text(f"Seed {params.seed}").is_visible()


def test_the_data_hashes_are_dvcs(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    found = provenance(read_params())
    lock = (root / "dvc.lock").read_text()
    assert {"data", "tables/splits/test.parquet", "models/adapters/options-1"} <= found.data.keys()
    assert all(md5 in lock for path, md5 in found.data.items() if path != "data")
    assert not [path for path in found.data if path.startswith("src")]


def test_hashes_of_training_seeds_that_are_gone_are_not_shown(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    params = read_params()
    fewer = params.model_copy(update={"train": params.train.model_copy(update={"replicates": [1]})})
    before, after = provenance(params).data.keys(), provenance(fewer).data.keys()
    assert {path for path in before - after if path.startswith("models/adapters")} >= {"models/adapters/options-2"}
    assert "models/adapters/options-1" in after and "models/adapters/options-2" not in after


def test_what_is_shown_is_escaped(project: Path):
    everything = (project / REPORT).read_text()
    assert "<script>document.title" not in everything
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", everything)


def test_the_gallery_is_filtered_by_type_and_by_who_is_right(project: Path, page: Page):
    page.locator("#gallery > summary").click()
    ids = {image.get_attribute("alt") for image in page.locator(".gallery .card > img").all()}
    shown = {}
    for model in MODELS:  # right if most of its runs are
        runs = pd.concat(pd.read_parquet(path) for path in sorted((project / "tables/predictions").glob(f"{model}*")))
        keys = ["qa_id", "condition", "question_type"]
        most = runs[runs["image_id"].isin(ids)].groupby(keys)["correct"].mean().gt(0.5)
        shown[model] = most.reset_index()

    def count() -> str:
        visible = page.locator(".question:visible").count()
        assert page.locator("#count").inner_text() == f"{visible} questions"
        empty = [
            card
            for card in page.locator(".gallery .card:visible").all()
            if not card.locator(".question:visible").count()
        ]
        assert not empty
        return visible

    everything = shown["base"][shown["base"]["condition"] == "open"]
    assert count() == len(everything) == 5 * 60
    page.select_option("[data-filter=type]", "color")
    assert count() == (everything["question_type"] == "color").sum()
    page.select_option("[data-filter=condition]", "circular")
    page.select_option("[data-model='0']", "0")
    page.select_option("[data-model='2']", "1")
    right = {
        name: table[table["condition"] == "circular"].set_index("qa_id")["correct"] for name, table in shown.items()
    }
    kinds = everything.set_index("qa_id")["question_type"]
    assert count() == (~right["base"] & right["options"] & (kinds == "color")).sum() > 0
    page.select_option("[data-filter=condition]", "matched")  # not every question is asked under it
    matched = {
        name: table[table["condition"] == "matched"].set_index("qa_id")["correct"] for name, table in shown.items()
    }
    wanted = ~matched["base"] & matched["options"] & kinds.reindex(matched["base"].index).eq("color")
    assert count() == wanted.sum()
    # Right with the image, wrong without: what the options arm has from the image.
    other = shown["options"][shown["options"]["condition"] == "matched/other"].set_index("qa_id")["correct"]
    page.select_option("[data-model='0']", "")
    page.select_option("[data-kind=other]", "0")
    assert count() == (matched["options"] & ~other & kinds.reindex(other.index).eq("color")).sum() > 0


def test_the_first_screen_answers_the_question(project: Path, page: Page):
    comparison = json.loads((project / "reports/comparison.json").read_text())
    question, sentence = headlines(comparison)[0]
    assert page.locator("h1").inner_text() == question == "Did showing the options in training help?"
    told = page.locator("#answer").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert told == sentence.replace("`", "")
    row = next(row for row in comparison["differences"] if (row["first"], row["second"]) == ("options", "standard"))
    assert f"{100 * abs(row['estimate']):.1f} points" in told and f"95 % interval {span(row, '+')}" in told
    for seen in (page.locator("img.figure").first, page.locator(".example img"), page.locator(".example .replies")):
        box = seen.bounding_box()
        assert box and box["y"] + box["height"] < DESKTOP["height"]


@pytest.mark.parametrize(("viewport", "tallest"), [(PHONE, 12_000), (DESKTOP, 8_000)])
def test_the_page_is_short_and_no_label_is_cut(page: Page, viewport: dict[str, int], tallest: int):
    page.set_viewport_size(viewport)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollHeight") < tallest
    assert page.evaluate(CUT_WORDS) == []


def test_no_label_of_a_figure_is_cut(project: Path, browser: Browser):
    page = browser.new_page()
    for name in FIGURES:
        page.goto((project / PLOTS / f"{name}.svg").as_uri())
        cut = page.evaluate(
            """() => {
              const all = document.documentElement.getBoundingClientRect();
              return [...document.querySelectorAll("text")].filter(text => {
                const box = text.getBoundingClientRect();
                return box.left < all.left - 1 || box.right > all.right + 1 || box.top < all.top - 1
                  || box.bottom > all.bottom + 1;
              }).map(text => text.textContent);
            }"""
        )
        assert cut == [], name
    page.close()


def test_types_have_one_order(page: Page):
    tables = page.evaluate(
        """() => [...document.querySelectorAll(".pair table")].map(table =>
          [...table.querySelectorAll("tbody tr td:first-child")].map(cell => cell.textContent))"""
    )
    listed = page.locator("[data-filter=type] option").all_text_contents()[1:]
    cards = page.evaluate(
        """() => [...document.querySelectorAll(".gallery .card")].map(card =>
          [...card.querySelectorAll(".question")].map(question => question.dataset.type))"""
    )
    assert len(tables) >= 4 and all(kinds == [*listed, "all"] for kinds in tables)
    assert all(kinds == sorted(kinds, key=listed.index) for kinds in cards)


def test_a_wrong_answer_is_named_in_every_row(page: Page):
    cells = page.evaluate(
        """() => [...document.querySelectorAll(".question")].flatMap(question => {
          const gold = question.querySelector(".gold").textContent;
          return [...question.querySelectorAll(".replies > span:not(.asked)")].slice(1).map(cell =>
            [gold, cell.querySelector(".right")?.textContent.trim() ?? "",
             cell.querySelector(".wrong")?.textContent.trim() ?? ""]);
        })"""
    )
    assert any(wrong for *_, wrong in cells)
    for gold, right, wrong in cells:
        assert (right, wrong) == (f"✓\N{NO-BREAK SPACE}{gold}", "") or re.fullmatch(r"✗ .*\w", wrong), (
            gold,
            right,
            wrong,
        )


def test_an_answer_that_changes_with_the_order_is_named():
    row = {"qa_id": "q", "image_id": "i", "question_type": "color", "condition": "circular", "options": ["red", "blue"]}
    asked = row | {"shown": True, "gold": "red", "prediction": "", "generated": ["Red", "blue"], "correct": False}
    question = row | {"question": "What?", "answer": "red", "image_path": "i.jpg"}
    [card] = pick_gallery([question], {"base": [pd.DataFrame([asked])]}, {"i": b""}, 1, 1)
    assert card["questions"][0]["answers"]["circular"]["by_model"]["base"]["wrong"] == ["blue"]
    assert pick_example([card], ["circular"])["question"] == "What?"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    names = ["ink", "quiet", "link", "yes", "no", "open"]
    style = "getComputedStyle(document.documentElement)"
    colors = {
        name: page.evaluate(f"{style}.getPropertyValue('--{name}').trim()") for name in [*names, "page", "soft", "on"]
    }
    dark = luminance(colors["page"]) < 0.5
    assert dark == (scheme == "dark")
    for name in names:
        assert min(contrast(colors[name], colors[back]) for back in ("page", "soft")) > 4.5, name
    for name in ("yes", "no", "open"):  # badges
        assert contrast(colors["on"], colors[name]) > 4.5, name


def luminance(color: str) -> float:
    digits = color.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    """The contrast of WCAG 2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP])
def test_the_page_is_as_wide_as_the_screen(page: Page, viewport: dict[str, int]):
    page.set_viewport_size(viewport)  # type: ignore[arg-type]
    for details in page.locator("details").all():
        details.evaluate("each => each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_the_report_prints(page: Page):
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    assert page.pdf()[:5] == b"%PDF-"


def test_another_checkout_at_another_commit_writes_the_same_bytes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """DVC restores the report from its cache, so nothing in it may depend on where and when it was made."""
    copy = shutil.copytree(project, tmp_path / "another clone")
    commit_empty = "git init -q && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m x"
    subprocess.run(commit_empty, shell=True, check=True, cwd=copy)
    monkeypatch.chdir(copy)
    main()
    for path in (REPORT, TABLE, *(PLOTS / f"{name}.svg" for name in FIGURES)):
        assert (copy / path).read_bytes() == (project / path).read_bytes(), path


def test_the_table_is_written_logged_and_noted_in_mlflow(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    comparison = json.loads((project / "reports/comparison.json").read_text())
    assert (project / TABLE).read_text() == render(comparison)
    run = find_run(REPORT)
    assert run
    client, _ = open_store()
    note = client.get_run(run.id).data.tags["mlflow.note.content"]
    assert note == summary(comparison) and "**Did training help?** " in note
    logged = {file.path for file in client.list_artifacts(run.id)}
    assert logged == {"report.html", "comparison.md", "audit.svg", *(f"{name}.svg" for name in FIGURES)}


def test_a_new_figure_is_in_the_report(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def plot_by_type(given: Figures, path: Path) -> None:
        with figure(path, 4, 3) as drawn:
            given.predictions["base"]["question_type"].value_counts().plot.bar(ax=drawn.subplots())

    copy = shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(copy)
    monkeypatch.setitem(FIGURES, "by_type", plot_by_type)
    main()
    drawn = (copy / PLOTS / "by_type.svg").read_bytes()
    assert b"material" in drawn
    assert f'src="data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}"' in (copy / REPORT).read_text()


def test_an_arm_that_was_never_validated_is_reported(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(copy)
    curve = pd.read_csv(copy / "reports/curves/options-1.csv").drop(columns=ACCURACY)
    curve.to_csv(copy / "reports/curves/options-1.csv", index=False)
    took = json.dumps(TOOK | {"validation_accuracy": None})
    (copy / "reports/training/options-1.json").write_text(took)
    main()
    shown = re.search(r"<tr><td>validation accuracy</td>(.*)</tr>", (copy / REPORT).read_text())
    assert shown and shown[1] == f"<td>{TOOK['validation_accuracy']:.1%}</td>" * 3 + "<td></td>" + (
        f"<td>{TOOK['validation_accuracy']:.1%}</td>" * 2 + "<td></td>"
    )


def test_a_missing_comparison_is_named(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(project / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"reports/comparison\.json: not found; .*dvc repro compare"):
        main()


def test_a_gallery_image_has_all_its_questions_and_answers():
    runs = replicated(0.05, base=0.4, standard=0.5, options=0.8)
    tables = {model: [table for name, table in runs.items() if name.startswith(model)] for model in MODELS}
    [base] = tables["base"]
    asked = base[base["condition"] == "options"]
    rows = asked.assign(question="What?", image_path="00/a.jpg").to_dict("records")
    images = {row["image_id"]: row["image_id"].encode() for row in rows}
    cards = pick_gallery(rows, tables, images, 3, 1)
    assert [card["image"].decode() for card in cards] == [card["image_id"] for card in cards]
    assert [card["image_id"] for card in pick_gallery(rows[::-1], tables, images, 3, 1)] == [
        c["image_id"] for c in cards
    ]
    assert len(pick_gallery(rows, tables, images, 10_000, 1)) == len(images)
    for card in cards:
        assert len(card["questions"]) == 5
        for row in card["questions"]:
            for condition, answer in row["answers"].items():
                for model, one in answer["by_model"].items():
                    found = [
                        table[(table["qa_id"] == row["qa_id"]) & (table["condition"] == condition)].iloc[0]
                        for table in tables[model]
                    ]
                    right = sum(bool(answer["correct"]) for answer in found)
                    wrong = [answer["prediction"] for answer in found if not answer["correct"]]
                    assert set(one["wrong"]) == set(wrong) and one["some"] == (right > 0)
                    assert one["right"] == (right > len(found) / 2)
                    assert one["count"] == (f"{right}/3" if model != "base" else "")


def test_confusion_counts_every_question_once():
    table = replicated(base=0.4, standard=0.5, options=0.8)["standard-1"]
    asked = table[table["condition"] == "options"]
    kinds = confusable(asked)
    assert list(kinds) == sorted(kinds, key=lambda kind: -(asked["question_type"] == kind).sum())
    for kind, answers in kinds.items():
        part = asked[asked["question_type"] == kind]
        counts = confusion(part, answers)
        assert counts.to_numpy().sum() == len(part)
        assert sum(counts.loc[word, word] for word in answers) == part["correct"].sum()
        few = confusion(part, answers[:2])
        assert few.to_numpy().sum() == len(part) and few.loc[OTHER].sum() == (~part["answer"].isin(answers[:2])).sum()


def test_calibration_is_what_the_error_is_made_of():
    probabilities = [[0.95, 0.05], [0.91, 0.09], [0.55, 0.45], [1.0, 0.0]]
    bins = calibration(probabilities, [True, False, True, True])
    assert bins["share"].tolist() == [0.25, 0.75]
    assert bins["confidence"].tolist() == pytest.approx([0.55, (0.95 + 0.91 + 1) / 3])
    assert bins["accuracy"].tolist() == pytest.approx([1, 2 / 3])
    error = 0.25 * 0.45 + 0.75 * abs((0.95 + 0.91 + 1) / 3 - 2 / 3)
    assert expected_calibration_error(probabilities, [True, False, True, True]) == pytest.approx(error)


def test_embedded_images_are_the_samples(project: Path, page: Page):
    sample = pd.read_parquet(project / "tables/sample.parquet").set_index("image_id")["image"]
    for image in page.locator(".card > img").all()[:5]:
        source = image.get_attribute("src") or ""
        assert base64.b64decode(source.partition("base64,")[2]) == sample[image.get_attribute("alt")]["bytes"]
