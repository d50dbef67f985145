"""What a model has forgotten: against a loop over single tokens, and which texts it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrlhf.data import load_task, write_rows
from genrlhf.errors import ConfigError, DataError
from genrlhf.sampling import TransformersSampler
from genrlhf.studies.stages.forgetting import forgetting_figures, measured_forgetting, read_texts, texts_of
from tests.helpers import tiny_gpt2, tiny_llama, tiny_tokenizer

TEXTS = ["the cat sat on the mat", "a dog", "the cat sat on the mat and the dog sat on the cat", "the"]


def sampler(model: Any, tokenizer: Any = None) -> TransformersSampler:
    return TransformersSampler(model.eval(), tokenizer or tiny_tokenizer())


def one_by_one(model: Any, base: Any, rows: list[list[int]]) -> tuple[float, float, float]:
    """Return base's loss, the model's, and KL(base ‖ model), a token, each prefix in a pass of its own."""
    losses: list[tuple[float, float, float]] = []
    for row in rows:
        for place in range(1, len(row)):
            ids = torch.tensor([row[:place]])
            with torch.no_grad():
                p, q = (each(input_ids=ids).logits[0, -1].double().log_softmax(-1) for each in (base, model))
            kl = float((p.exp() * (p - q)).sum())
            losses.append((-float(p[row[place]]), -float(q[row[place]]), kl))
    means = np.mean(losses, axis=0)
    return float(means[0]), float(means[1]), float(means[2])


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_losses_and_kl_are_those_of_single_tokens(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two texts at a time, so that some are padded.
    monkeypatch.setattr("genrlhf.studies.stages.forgetting._AT_MOST", 2)
    base, model = sampler(make(seed=0)), sampler(make(seed=1))
    found = measured_forgetting(model, base, TEXTS, max_tokens=9)
    rows = [tiny_tokenizer()(text)["input_ids"][:9] for text in TEXTS]
    expected = one_by_one(model.model, base.model, [row for row in rows if len(row) > 1])
    assert found is not None and found.forward_kl is not None
    values = found.base_loss.value, found.loss.value, found.forward_kl.value
    assert values == pytest.approx(expected, rel=1e-4)
    assert found.increase.value == pytest.approx(expected[1] - expected[0], rel=1e-3)
    # A text has its own value wherever it was in the batches.
    assert found.loss.n == sum(len(row) > 1 for row in rows)
    assert set(forgetting_figures(found)["forgetting"]) == {"base_loss", "loss", "increase", "forward_kl"}


def test_another_vocabulary_is_not_compared() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["zzz"])
    assert measured_forgetting(sampler(tiny_llama(), tokenizer), sampler(tiny_llama()), TEXTS, max_tokens=9) is None
    assert forgetting_figures(None) == {}


def test_texts_of_one_token_are_no_texts() -> None:
    models = sampler(tiny_llama(seed=0)), sampler(tiny_llama(seed=1))
    with pytest.raises(DataError, match="None of 1 texts has two tokens"):
        measured_forgetting(*models, ["the"], max_tokens=1)


def test_files_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufefffirst line\r\nand another\r\n\r\n\r\nsecond 日本\r\n".encode())
    assert read_texts(str(tmp_path / "a.txt"), 9) == ["first line\nand another", "second 日本"]
    write_rows([{"text": "a"}, {"text": " "}, {"text": "b"}], tmp_path / "t.jsonl")
    assert read_texts(str(tmp_path / "t.jsonl"), 9) == ["a", "b"]
    write_rows([{"prompt": "p: ", "completion": "c"}], tmp_path / "p.jsonl")
    assert read_texts(str(tmp_path / "p.jsonl"), 9) == ["p: c"]
    write_rows([{"prompt": [{"role": "user", "content": "hi"}], "reference": "yo"}], tmp_path / "m.jsonl")
    assert read_texts(str(tmp_path / "m.jsonl"), 9) == ["hi\n\nyo"]
    write_rows([{"words": "a"}], tmp_path / "w.jsonl")
    with pytest.raises(DataError, match="has the columns words; call the texts 'text'"):
        read_texts(str(tmp_path / "w.jsonl"), 9)
    (tmp_path / "e.txt").write_text(" \n\n ")
    with pytest.raises(DataError, match="holds no texts"):
        read_texts(str(tmp_path / "e.txt"), 9)
    with pytest.raises(DataError, match="cannot be read"):
        read_texts(str(tmp_path / "none.txt"), 9)


def test_texts_of_a_task() -> None:
    sizes = {"n_demonstrations": 4, "n_preferences": 0, "n_prompts": 4, "n_validation": 3, "n_evaluation": 3}
    task = load_task("embedded", **sizes)
    row = task.validation["demonstrations"][0]
    assert texts_of("demonstrations", task, 2)[0] == row["prompt"] + row["completion"]
    assert len(texts_of("demonstrations", task, 2)) == 2
    first = task.evaluation["ood"][0]
    assert texts_of("ood", task, 1) == [first["prompt"] + first["reference"]]
    with pytest.raises(ConfigError, match="holds no demonstrations out"):
        texts_of("demonstrations", replace(task, validation={}), 2)
