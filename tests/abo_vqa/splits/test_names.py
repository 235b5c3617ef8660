"""Products of one listed name: which count as one, and the groups that no split divides."""

from abo_vqa.splits.names import listed_names, split_groups


def named(*rows: tuple[str, str | None, str | None]) -> dict[str, str]:
    return listed_names({"product_id": key, "brand": brand, "item_name": name} for key, brand, name in rows)


def test_brand_and_name_count_without_case_width_and_spaces():
    names = named(("A", "Rivet", "Oak  Chair"), ("B", "RIVET", "oak chair"), ("C", "Rivet", "Oak Table"))
    assert names["A"] == names["B"] != names["C"]


def test_other_brands_differ_unless_one_is_missing():
    assert len(set(named(("A", "Rivet", "Chair"), ("B", "Movian", "Chair")).values())) == 2
    assert len(set(named(("A", "Rivet", "Chair"), ("B", "Movian", "Chair"), ("C", None, "chair")).values())) == 1


def test_a_product_without_a_name_is_alone():
    assert named(("A", "Rivet", None), ("B", "Rivet", " ")) == {}
    assert split_groups({"A": "x", "B": "y"}, {}) == {"A": "x", "B": "y"}


def test_names_and_images_connect_one_another():
    images = {"A": "z", "B": "y", "C": "y", "D": "x", "E": "w"}
    groups = split_groups(images, {"A": "chair", "B": "chair", "C": "table", "D": "table"})
    assert groups == {"A": "x", "B": "x", "C": "x", "D": "x", "E": "w"}
