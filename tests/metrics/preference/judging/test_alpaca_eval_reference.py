"""What alpaca_eval 0.6.6 asked and found, on the same rows and against the same server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.metrics.preference import AnswerStore, OpenAIJudge, judge_comparisons, load_alpaca_eval_judge
from tests import needs
from tests.metrics.preference.judging.alpaca_eval_reference.scripted import (
    DATA,
    FOLDER,
    JUDGES,
    answer,
    digest,
    reference_rows,
)
from tests.metrics.preference.judging.chat_server import ChatServer

pytestmark = [pytest.mark.enable_socket, needs.data(DATA.name)]


@pytest.mark.parametrize("name", JUDGES)
def test_prompts_orders_and_preferences_are_those_of_alpaca_eval(name: str, tmp_path: Path) -> None:
    recorded: dict[str, Any] = json.loads((FOLDER / "record.json").read_text(encoding="utf-8"))["judges"][name]
    rows = reference_rows()
    described = load_alpaca_eval_judge(FOLDER / name)
    with ChatServer(answer=answer) as server:
        judge = OpenAIJudge(
            described.model,
            described.template,
            settings=described.settings,
            base_url=server.url,
            store=AnswerStore(tmp_path / "answers.sqlite"),
        )
        columns = [[row[key] for row in rows] for key in ("instruction", "output_1", "output_2")]
        judged = judge_comparisons(*columns, judge, order="alpaca_eval")
        requests = [dict(request) for request in server.requests]
    assert sorted(digest(request.pop("messages")) for request in requests) == recorded["asked"]
    assert all(request == recorded["settings"] for request in requests)
    found = [one.preference for one in judged.comparisons]
    assert [value is None for value in found] == [value is None for value in recorded["preferences"]]
    known = [(one, other) for one, other in zip(found, recorded["preferences"], strict=True) if one is not None]
    assert len(known) > 150
    for one, other in known:
        assert one == pytest.approx(other, abs=1e-12)
