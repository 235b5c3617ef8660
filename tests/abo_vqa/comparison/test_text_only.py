"""A model against the best text-only predictor of the audit."""

from abo_vqa.comparison.text_only import against_text_only


def test_a_blind_score_above_the_limit_refuses_every_gain():
    def scored(accuracy: float) -> dict:
        row = {"n": 100, "accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
        return {"test": {"options": {"text classifier": {"total": row}, "ceiling": {"total": row | {"accuracy": 1.0}}}}}

    model = {"accuracy": 0.9, "low": 0.88, "high": 0.92}
    found = against_text_only(model, scored(0.6), "options", 0.5)
    assert found["above"] and found["predictor"] == "text classifier"
    assert found["refused"] == (
        "no gain, for the best text-only baseline (text classifier, 60.0 %) exceeds compare.max_blind (50.0 %)"
    )
    assert against_text_only(model, scored(0.6), "options", None)["refused"] == ""
    assert against_text_only(model, scored(0.5), "options", 0.5)["refused"] == ""
