"""A reward model as judge beside the gold score."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.studies import judge_table, validate_reward_model


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"prompt": f"p{number}", "outputs": [text, "other"]} for number, text in enumerate(texts)]


OUTPUTS = {
    "sft": {"id": rows("a", "bb", "ccc"), "ood": rows("a", "b")},
    "ppo": {"id": rows("aaa", "b", "ccc"), "ood": rows("aa", "bb")},
}


def length(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(len(text)) for text in completions]


def first_letter(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(text == "aaa") for text in completions]


def test_agreement_with_the_gold_score_by_hand() -> None:
    same = validate_reward_model(OUTPUTS, reward=length, gold=length)
    assert list(same) == ["id", "ood", "all"]
    # Equal outputs are left out.
    assert [same[name].n_pairs for name in same] == [2, 2, 4]
    assert all(one.accuracy is not None and one.accuracy.value == 1 for one in same.values())
    assert same["ood"].win_rate_judge is not None and same["ood"].win_rate_judge.value == 1
    other = validate_reward_model(OUTPUTS, reward=first_letter, gold=length)
    # In distribution it is right on the first and calls the second a tie; out of distribution all are ties.
    assert other["id"].accuracy is not None and other["id"].accuracy.value == pytest.approx(0.75)
    assert other["ood"].accuracy is not None and other["ood"].accuracy.value == pytest.approx(0.5)


def test_table_has_what_is_known() -> None:
    lines = judge_table(validate_reward_model(OUTPUTS, reward=first_letter, gold=length)).splitlines()
    assert lines[0].split() == ["ID", "OOD", "all"]
    assert [line.split()[0] for line in lines[2:4]] == ["pairs", "accuracy"]
    assert "75.0 [" in lines[3] and not any(line.startswith(("humans", "flip")) for line in lines)


def test_nothing_to_compare() -> None:
    assert validate_reward_model({"sft": OUTPUTS["sft"]}, reward=length, gold=length) == {}
    assert validate_reward_model({"a": OUTPUTS["sft"], "b": OUTPUTS["sft"]}, reward=length, gold=length) == {}
