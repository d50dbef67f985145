"""How a model is to be asked, kept beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrlhf.data.asking import ASKING_FILE, Asking, asking_of
from genrlhf.data.chat import ChatPrompt
from genrlhf.errors import ModelError


def test_around_text_messages_and_parts() -> None:
    asking = Asking("so: ", " well?")
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert asking("q") == "so: q well?"
    assert asking(messages) == [messages[0], {"role": "user", "content": "so: q well?"}]
    assert asking(ChatPrompt(messages, {"tools": [1]})) == ChatPrompt(asking(messages), {"tools": [1]})
    parts = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
    assert Asking(after=" well?")(parts)[0]["content"] == [*parts[0]["content"], {"type": "text", "text": " well?"}]
    assert messages[1]["content"] == "q"


def test_beside_a_model(tmp_path: Path) -> None:
    assert asking_of(tmp_path) is None and asking_of("some/model") is None
    Asking(after="\nGut:\n").save(tmp_path)
    assert asking_of(tmp_path) == Asking(after="\nGut:\n")
    for wrong in ("[]", "{", '{"behind": ""}', '{"after": 3}'):
        (tmp_path / ASKING_FILE).write_text(wrong)
        with pytest.raises(ModelError, match="does not say how the model is asked"):
            asking_of(tmp_path)


def test_a_sampler_asks_as_the_folder_says_and_answers_for_the_prompt(tmp_path: Path) -> None:
    from genrlhf.sampling import TransformersSampler
    from genrlhf.studies.workshop import Workshop
    from genrlhf.types import SamplingParams
    from tests.helpers import save_model, tiny_llama, tiny_tokenizer

    save_model(tiny_llama(), tiny_tokenizer(), tmp_path)
    Asking(after=" well?").save(tmp_path)
    params = SamplingParams(4)
    plain = TransformersSampler(tiny_llama(), tiny_tokenizer())
    asked = Workshop(8).sampler(str(tmp_path)).sample(["q", "qx"], 2, params, 0)
    assert asked == plain.sample(["q well?", "qx well?"], 2, params, 0)
    assert asked != plain.sample(["q", "qx"], 2, params, 0)
