"""The card that lies beside every model that a trainer saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers.trainer
import yaml
from datasets import Dataset
from markdown_it import MarkdownIt
from peft import LoraConfig

from genrlhf.data.fingerprint import dataset_fingerprint
from genrlhf.methods import get_method
from genrlhf.trainers import DPOConfig, DPOTrainer, SFTConfig
from genrlhf.trainers.card import MARK, MadeBy
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.integrations.test_diversity_callback import callback
from tests.trainers.runs import QUIET, best_of_n, logged, ppo_trainer, prompt_rows, reward_model_trainer, sft_trainer

# PEFT says that it found no config where the base will lie.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

DEMONSTRATIONS = Dataset.from_list([{"prompt": "q" * (1 + i % 3), "completion": "ab"} for i in range(8)])


def dpo_trainer(folder: Path, **options: Any) -> DPOTrainer:
    rows = Dataset.from_list([{"prompt": "q", "chosen": "ab" * (2 + i % 3), "rejected": "b"} for i in range(8)])
    args = DPOConfig(str(folder), **{**QUIET, "max_steps": 1, "save_strategy": "steps"})
    return DPOTrainer(args=args, train_dataset=rows, processing_class=tiny_tokenizer(), **options)


TRAINERS: dict[str, Any] = {
    "sft": lambda folder, **options: sft_trainer(folder, max_steps=1, **options),
    "reward_model": lambda folder, **options: reward_model_trainer(folder, max_steps=1, **options),
    "dpo": dpo_trainer,
    "ppo": lambda folder, **options: ppo_trainer(folder, num_rollouts=1, **options),
    "best_of_n": lambda folder, **options: best_of_n(folder, train_dataset=prompt_rows(4), max_steps=1, **options),
}


def read(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text of a card, which must be the one that a hub and a browser make of it."""
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), body


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_says_what_it_has_trained(name: str, adapter: bool, tmp_path: Path) -> None:
    is_reward_model = name == "reward_model"
    base = save_model(tiny_reward_model() if is_reward_model else tiny_llama(), tiny_tokenizer(), tmp_path / "a_base")
    task = "SEQ_CLS" if is_reward_model else "CAUSAL_LM"
    lora = {"peft_config": LoraConfig(r=2, task_type=task, target_modules=["q_proj"])} if adapter else {}
    saves = {} if name == "dpo" else {"save_strategy": "steps"}
    trainer = TRAINERS[name](tmp_path / "run", model=str(base), **saves, **lora)
    trainer.train()
    method = get_method(name)
    assert trainer.made_by == MadeBy(method.name, method.label, method.paper)
    data, text = read(tmp_path / "run")
    assert data["tags"] == ["genrlhf", name] and data["model_name"] == "run" and "license" not in data
    assert "base_model" not in data
    assert data["library_name"] == ("peft" if adapter else "transformers")
    assert data["pipeline_tag"] == ("text-classification" if is_reward_model else "text-generation")
    assert f"**{method.label}**".replace("-", r"\-") in text and r"starting from a\_base (weights " in text
    for number in method.paper.split("arXiv ")[1:]:
        assert f"https://arxiv.org/abs/{number[:10]})" in text
    rows = getattr(trainer, "_demonstrations", None) or getattr(trainer, "_preferences", None) or trainer.train_dataset
    assert (dataset_fingerprint(rows) or {})["digest"] in text
    assert "| train\\_loss |" in text and "| transformers |" in text
    # It is read by others, on other machines.
    assert str(tmp_path) not in text
    assert ("Adapter: " in text) == adapter


def test_a_method_of_the_registry_signs_what_it_builds(tmp_path: Path) -> None:
    args = SFTConfig(str(tmp_path), **{**QUIET, "max_steps": 1, "save_strategy": "steps", "learning_rate": 3e-4})
    method = get_method("gem")
    method.build(tiny_llama(), args, DEMONSTRATIONS, processing_class=tiny_tokenizer()).train()
    data, text = read(tmp_path)
    assert data["tags"] == ["genrlhf", "gem"]
    assert "**GEM** (Li et al\\. 2024, [arXiv 2408.16673](https://arxiv.org/abs/2408.16673))" in text
    assert "Objective: GEM\\(beta=0\\.7\\)." in text
    assert "| learning\\_rate | 0.0003 |" in text


def test_figures_are_those_of_the_log(tmp_path: Path) -> None:
    settings = {"save_strategy": "steps", "max_steps": 4, "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    trainer = sft_trainer(tmp_path, eval_dataset=DEMONSTRATIONS, callbacks=[callback()], **settings)
    trainer.train()
    text = read(tmp_path)[1]
    assert "After 4 steps, 4 epoch(s)." in text
    assert f"| eval\\_loss | {logged(trainer, 'eval_loss')[-1]:.4g} |" in text
    assert f"| loss | {logged(trainer, 'loss')[-1]:.4g} |" in text
    start, *_, end = (f"{value:.4g}" for value in logged(trainer, "diversity/per_input/ead"))
    error = f"{logged(trainer, 'diversity/per_input/ead_stderr')[-1]:.4g}"
    assert f"| per\\_input/ead | {start} | {end} | {error} |" in text
    assert "seconds" not in text and "runtime" not in text


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
def test_a_card_that_somebody_has_written_stays(adapter: bool, tmp_path: Path) -> None:
    mine = "---\nlicense: mit\n---\nMine.\n"
    (tmp_path / "README.md").write_text(mine)
    lora = {"peft_config": LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"])} if adapter else {}
    trainer = sft_trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=1, **lora)
    trainer.train()
    trainer.create_model_card(model_name="other")
    assert (tmp_path / "README.md").read_text() == mine
    trainer.save_model(str(tmp_path / "elsewhere"))
    assert MARK in (tmp_path / "elsewhere" / "README.md").read_text()


def test_our_own_is_written_anew(tmp_path: Path) -> None:
    sft_trainer(tmp_path, max_steps=1, save_strategy="steps").train()
    before = (tmp_path / "README.md").read_text()
    settings = {"max_steps": 2, "save_strategy": "steps", "overwrite_output_dir": True, "learning_rate": 1e-4}
    sft_trainer(tmp_path, **settings).train()
    after = (tmp_path / "README.md").read_text()
    assert "After 1 steps" in before and "After 2 steps" in after and "After 1 steps" not in after


HOSTILE = "x|y\n---\nlicense: evil\n<script>alert(1)</script> [a](http://b) `c` $d$ # e @me"


def test_names_stay_text(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"prompt": "q", "completion": "ab", HOSTILE: "z"} for _ in range(4)])
    model = tiny_llama()
    model.config._name_or_path = HOSTILE
    trainer = sft_trainer(tmp_path, model=model, train_dataset=rows, max_steps=1, logging_steps=1)
    trainer.train()
    trainer.state.log_history.append({HOSTILE: 1.0, "\ud800": 2.0})
    trainer.made_by = MadeBy(HOSTILE, HOSTILE, HOSTILE)
    trainer.create_model_card(model_name=HOSTILE, tags=[HOSTILE], dataset_name=HOSTILE)
    data, text = read(tmp_path)
    line = " ".join(HOSTILE.split())
    assert data["model_name"] == line and data["tags"] == ["genrlhf", line] and data["datasets"] == [line]
    assert "license" not in data and "base_model" not in data
    tokens = MarkdownIt().enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or []]
    assert [t.content for t in tokens if t.type == "html_block"] == [MARK + "\n"]
    links = [child.attrs["href"] for child in inline if child.type == "link_open"]
    assert links == []
    assert [child.content for child in inline if child.type == "code_inline"] == ["SFTConfig"]
    assert not any(child.type in ("html_inline", "image") for child in inline)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert len(headings) == 5 and len({len(r.split(" | ")) for r in text.splitlines() if r.startswith("| x")}) == 1


def test_a_base_on_the_hub_is_named_as_such(tmp_path: Path) -> None:
    model = tiny_llama()
    model.config._name_or_path = "some-org/some-model"
    trainer = sft_trainer(tmp_path, model=model, max_steps=1)
    trainer.train()
    trainer.create_model_card("mine", "org/data", "mine", license="mit", language="en")
    data, text = read(tmp_path)
    assert data["base_model"] == "some-org/some-model" and data["datasets"] == ["org/data"]
    assert (data["license"], data["language"], data["tags"]) == ("mit", "en", ["genrlhf", "sft", "mine"])
    assert "(https://huggingface.co/some-org/some-model)" in text and "org/data; 8 rows" in text


def test_what_is_pushed_has_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = []

    class Hub:
        def upload_folder(self, **options: Any) -> None:
            pushed.append(((Path(options["folder_path"]) / "README.md").read_text(), options["repo_id"]))

    monkeypatch.setattr(transformers.trainer, "hf_api", Hub, raising=False)
    monkeypatch.setattr(transformers.trainer, "upload_folder", Hub().upload_folder, raising=False)
    trainer = sft_trainer(tmp_path, max_steps=1)
    trainer.train()
    trainer.hub_model_id = "me/mine"
    trainer.push_to_hub(tags="shared")
    text, repository = pushed[0]
    assert repository == "me/mine" and MARK in text and "- shared" in text and "# run" not in text
