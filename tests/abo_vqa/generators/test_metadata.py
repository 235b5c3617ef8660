"""Questions asked from listing facts: true, one-word, balanced, and silent where the listing is."""

import json
import random
import re
from collections import Counter

import pytest

from abo_vqa.common.draws import draw_others
from abo_vqa.common.words import color_word
from abo_vqa.generators.listing_facts import facts_of
from abo_vqa.generators.metadata import LEAST_RATIO, generate_from_metadata
from small_archives import image_path, listing

PRODUCTS = [(listing(number), image_path(number)) for number in range(400)]


def questions_of(products, seed=1):
    generated = generate_from_metadata(products, seed)
    by_product = {output.product_id: json.loads(output.output)["questions"] for output in generated.outputs}
    return [(row, question) for row, _ in products for question in by_product.get(row.product_id, [])], generated


def test_every_question_has_four_distinct_options_and_its_true_answer():
    asked, generated = questions_of(PRODUCTS)
    assert len(asked) == sum(generated.asked.values()) > 1900
    for row, question in asked:
        fact = facts_of(row)
        text, answer, options = question["question"], question["answer"], question["options"]
        assert len(options) == len(set(options)) == 4 and answer in options
        assert "{" not in text and text.endswith("?")
        if question["type"] == "existential":
            color = re.sub(r".* (\w+)\?$", r"\1", text)
            assert answer == ("yes" if color == fact.color else "no")
        elif question["type"] == "attribute":
            name = next(word for word in ("color", "material", "shape") if word in text)
            assert answer == getattr(fact, name)
            assert not any(value in text for value in (fact.color, fact.material, fact.shape))
        elif question["type"] == "counting":
            counts = {what: str(count) for what, count in fact.counts}
            assert answer == counts[text.split()[2]]
            assert all(0 <= int(option) <= 10 for option in options)
        elif "height" in text:
            taller = fact.height > fact.width * LEAST_RATIO
            assert answer == ("height" if taller == ("greater" in text) else "width")
        else:
            number, what = re.search(r"than (\d+) (\w+)", text).groups()
            assert answer == ("more" if dict(fact.counts)[what] > int(number) else "fewer")
            assert dict(fact.counts)[what] != int(number)


def test_the_paper_asks_five_questions_of_a_product_that_has_all_facts():
    asked, _ = questions_of(PRODUCTS[:1])
    kinds = Counter(question["type"] for _, question in asked)
    assert kinds == {"existential": 1, "attribute": 2, "counting": 1, "comparison": 1}


def test_yes_and_no_are_exactly_balanced_and_the_color_asked_for_tells_nothing():
    asked, _ = questions_of(PRODUCTS)
    yes_no = [question for _, question in asked if question["type"] == "existential"]
    answers = Counter(question["answer"] for question in yes_no)
    assert answers == {"yes": 200, "no": 200}
    for color in ("red", "blue", "green", "black"):
        about = [question["answer"] for question in yes_no if f" {color}?" in question["question"]]
        assert 0.25 < about.count("yes") / len(about) < 0.75


def test_the_number_compared_with_does_not_tell_whether_there_are_more_or_fewer():
    rng = random.Random(3)
    products = [
        (listing(n, item_name=f"Mug, Set of {rng.randint(1, 10)}", bullet_point=None, item_dimensions=None), "")
        for n in range(600)
    ]
    asked, _ = questions_of(products)
    told = Counter()
    for _, question in asked:
        if question["type"] == "comparison":
            told[re.search(r"\d+", question["question"])[0], question["answer"]] += 1
    numbers = {number for number, _ in told}
    assert len(numbers) == 3
    for number in numbers:
        assert 0.25 < told[number, "more"] / (told[number, "more"] + told[number, "fewer"]) < 0.75


def test_distractors_are_as_frequent_as_they_are_answers():
    """Picking the commonest option must not find the answer much more often than chance."""
    seen = {value: 1000 // rank for rank, value in enumerate("abcdefghijk", 1)}
    rng = random.Random(0)
    answers = rng.choices(list(seen), list(seen.values()), k=3000)
    drawn = [(answer, [answer, *draw_others(answer, seen, 3, rng)]) for answer in answers]
    assert all(len(set(options)) == 4 for _, options in drawn)
    hits = sum(max(options, key=seen.__getitem__) == answer for answer, options in drawn)
    assert hits / len(drawn) < 0.42  # 0.54 where the distractors are drawn uniformly


def test_a_missing_fact_is_skipped_and_counted():
    bare = {"color": None, "item_shape": None, "item_dimensions": None, "bullet_point": None}
    products = [(listing(n, **bare, item_name=None), image_path(n)) for n in range(5)]
    asked, generated = questions_of(products)
    assert [question["type"] for _, question in asked] == ["attribute"] * 5
    assert generated.asked == {"attribute 1": 5}
    assert generated.skipped == {"existential": 5, "attribute 2": 5, "counting": 5, "comparison": 5}


def test_a_product_without_facts_has_no_output():
    bare = dict.fromkeys(("color", "material", "item_shape", "item_dimensions", "bullet_point", "item_name"), None)
    products = [*PRODUCTS[:3], (listing(900, **bare), image_path(900))]
    assert [output.product_id for output in generate_from_metadata(products, 1).outputs] == [
        row.product_id for row, _ in PRODUCTS[:3]
    ]


def test_facts_in_another_language_are_not_asked_for():
    german = [{"language_tag": "de_DE", "value": "schwarz"}]
    assert facts_of(listing(1, color=german)).color is None
    assert facts_of(listing(1, material=german)).material is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Red", "red"),
        ("dark blue", "blue"),
        ("Grey", "gray"),
        ("light GREY", "gray"),
        ("teal", "teal"),
        ("black/white", None),
        ("blue green", None),
        ("black / white", None),
        ("red rose", None),
        ("very dark blue", None),
        ("C00", None),
        ("", None),
        (None, None),
    ],
)
def test_color_words(text, word):
    assert color_word(text) == word


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("Mug, Set of 4, red", 4),
        ("Pack of 2 socks", 2),
        ("Vase 6-Pack", 6),
        ("Vase 3 Pack", 3),
        ("Batteries (10 Count)", 10),
        ("Case (1 Count)", 1),
        ("Batteries 48 Count", None),
        ("Set of 100", None),
        ("Backpack 20 packs", None),
        ("Jetpack of 5 parts", None),
    ],
)
def test_counts_in_names(name, count):
    found = facts_of(listing(1, item_name=name, bullet_point=None)).counts
    assert found == (() if count is None else (("vases", count),))


def test_counts_in_bullets():
    def counts(bullet):
        return facts_of(listing(1, item_name=None, bullet_point=[{"value": bullet}])).counts

    assert counts("Shown with 3 flowers.") == (("flowers", 3),)
    assert counts("shown with no books") == (("books", 0),)
    assert counts("Shown with 12 eggs") == () and counts("Ships with 3 eggs") == ()


@pytest.mark.parametrize(
    ("product_type", "noun", "plural"),
    [
        ("CELLULAR_PHONE_CASE", "case", "cases"),
        ("SHOES", "shoe", "shoes"),
        ("SHELF", "shelf", "shelves"),
        ("STORAGE_BOX", "box", "boxes"),
        ("BATTERY", "battery", "batteries"),
        ("OFFICE_PRODUCTS", "item", "items"),
        ("FINENECKLACEBRACELETANKLET", "item", "items"),
        ("HOME", "item", "items"),
    ],
)
def test_nouns(product_type, noun, plural):
    found = facts_of(listing(1, product_type=product_type))
    assert (found.noun, found.plural) == (noun, plural)


def test_one_product_more_does_not_change_what_the_others_are_asked_about():
    few, _ = questions_of(PRODUCTS[:50])
    again, _ = questions_of(PRODUCTS[:50])
    other, _ = questions_of(PRODUCTS[:50], seed=2)
    assert few == again and few != other
