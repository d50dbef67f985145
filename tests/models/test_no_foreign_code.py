"""A model's own code never runs unless the user says so, and nothing asks."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import genrlhf
from genrlhf.errors import GenRLHFError
from genrlhf.metrics import SentenceBERT
from genrlhf.metrics.diversity.nli_model import NLIModel
from genrlhf.models import load_causal_lm, load_for_reward_training, load_reward_model, load_tokenizer
from genrlhf.rewards import load_reward
from tests.helpers import save_model, tiny_llama, tiny_tokenizer

SOURCE = Path(genrlhf.__file__).parent


def loader_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the package that could read a model's own code: `Auto….from_pretrained`, `SentenceTransformer`."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            # Adapters hold no code, and PEFT is given the base.
            if called == "SentenceTransformer" or (
                called.endswith(".from_pretrained") and not called.startswith("PeftModel")
            ):
                yield f"{file.relative_to(SOURCE)}:{node.lineno}", node


def test_every_loader_is_told_about_foreign_code() -> None:
    calls = dict(loader_calls())
    assert len(calls) >= 8
    # What passes arguments on is told by whom it is called, which the test below tries.
    passing_on = [place for place, call in calls.items() if any(keyword.arg is None for keyword in call.keywords)]
    assert {place.split(":")[0] for place in passing_on} <= {"models/folders.py", "models/quantisation.py"}
    for place, call in calls.items():
        told = any(keyword.arg == "trust_remote_code" for keyword in call.keywords)
        assert told or place in passing_on, f"{place} leaves trust_remote_code to transformers, which asks on stdin"


@pytest.fixture
def own_code(tmp_path: Path) -> Path:
    """The folder of a model whose code leaves the file `ran`."""
    folder = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "own")
    (folder / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import LlamaConfig as C, LlamaForCausalLM as M, PreTrainedTokenizerFast as T\n"
    )
    names = {f"AutoModel{kind}": "own.M" for kind in ("", "ForCausalLM", "ForSequenceClassification")}
    for file, auto in (
        ("config.json", {"AutoConfig": "own.C", **names}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.T", "own.T"]}),
    ):
        content = json.loads((folder / file).read_text())
        content["auto_map"] = auto
        (folder / file).write_text(json.dumps(content | ({"model_type": "own"} if file == "config.json" else {})))
    return folder


@pytest.mark.parametrize(
    "load",
    [
        load_causal_lm,
        load_for_reward_training,
        load_reward_model,
        load_tokenizer,
        load_reward,
        lambda name: NLIModel(name),
        lambda name: SentenceBERT(name)(["a", "b"]),
    ],
    ids=["causal", "reward training", "reward model", "tokenizer", "reward", "nli", "sentence-bert"],
)
def test_no_code_of_a_model_runs_whatever_standard_input_says(
    load: Callable[[str], Any], own_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    try:
        load(str(own_code))
    except GenRLHFError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "ran").exists()


def test_a_model_whose_code_is_needed_says_so(own_code: Path) -> None:
    with pytest.raises(GenRLHFError, match=r"needs code that its repository ships; read it, and set trust_remote_code"):
        load_causal_lm(str(own_code))
