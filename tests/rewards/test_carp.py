"""A CARP model as a reward: by its folder, its goal, and in the loops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from genrlhf.errors import ConfigError, ModelError, RewardError, RunFolderError
from genrlhf.models.carp import CARPModel, class_names
from genrlhf.ops import class_logits
from genrlhf.rewards import CARPReward, check_rewards, load_reward
from genrlhf.rewards.carp import load_carp, passage_text
from genrlhf.rewards.weighted import as_reward
from tests.trainers.carps import coop, pairs, saved_carp
from tests.trainers.runs import best_of_n, ppo_trainer, prompt_rows

PROMPTS, TEXTS = ["q"] * 4, ["abab", "xyxy", "", "abab"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_carp(tmp_path_factory.mktemp("carp") / "carp", critique="good")


@pytest.fixture(scope="module")
def classes(folder: Path) -> Path:
    made = folder.parent / "coop"
    coop(made, folder, target="kind", context_size=3, save_strategy="steps").train()
    return made


def test_the_cosine_to_a_critique_and_the_log_probability_of_a_class(folder: Path, classes: Path) -> None:
    model, (passages, critiques) = load_carp(classes)

    def unit(side: str, text: str) -> torch.Tensor:
        ids = (passages if side == "passage" else critiques)(text)["input_ids"] or [1]
        return model.encode(side, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))[0]

    with torch.no_grad():
        cosines = [float(unit("passage", text) @ unit("critique", "good")) for text in TEXTS]
        assert load_reward(folder)(PROMPTS, TEXTS) == pytest.approx(cosines, abs=1e-6)
        learnt = model.encode_classes(class_names(critiques, ["kind", "rude"], max_length=60))
        u = torch.stack([unit("passage", text) for text in TEXTS])
        logits = class_logits(u, learnt, model.log_scale)
    found = load_reward(str(classes))(PROMPTS, TEXTS)
    assert found == pytest.approx(logits.log_softmax(-1)[:, 0].tolist(), abs=1e-6)
    # A constant on all classes changes nothing; the chances of all classes add up to 1.
    assert (logits + 5).log_softmax(-1)[:, 0].tolist() == pytest.approx(found, abs=1e-5)
    other = CARPReward.load(classes, target="rude")(PROMPTS, TEXTS)
    assert torch.tensor([found, other]).exp().sum(0).tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    # Without context, by names alone: of any model, and of any names.
    zero_shot = CARPReward.load(folder, target="kind", classes=["rude", "kind"])(PROMPTS, TEXTS)
    with torch.no_grad():
        named = torch.stack([unit("critique", name) for name in ("rude", "kind")])
        by_hand = class_logits(u, named, model.log_scale).log_softmax(-1)[:, 1].tolist()
    assert zero_shot == pytest.approx(by_hand, abs=1e-6)


def test_prompts_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    rows = pairs().rename_column("passage", "completion").add_column("prompt", ["hi "] * 16)
    whole = load_reward(saved_carp(tmp_path / "a", rows=rows, critique="good", with_prompt=True))
    assert whole(["ab"], ["ab"]) == pytest.approx(whole(["a"], ["bab"]), abs=1e-6)
    assert whole(["ab"], ["ab"]) != pytest.approx(whole(["xy"], ["ab"]), abs=1e-4)
    # What is too long loses its start.
    assert whole(["x" * 80], ["ab" * 32]) == pytest.approx(whole([""], ["ab" * 32]), abs=1e-6)
    messages = [{"role": "user", "content": "ab"}]
    assert (
        passage_text(messages, "ab") == "ab\nab" and passage_text("a", [{"role": "assistant", "content": "b"}]) == "ab"
    )


def test_a_goal_there_is_none_of(folder: Path, classes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="target 'kid' is no class of this CARP model; there are 'kind', 'rude'"):
        CARPReward.load(classes, target="kid")
    with pytest.raises(ConfigError, match="target 'kind' is no class of this CARP model; there are none; name them"):
        CARPReward.load(folder, target="kind")
    with pytest.raises(ConfigError, match="target is 'kind' and critique 'good'; a reward is for one"):
        CARPReward.load(classes, target="kind", critique="good")
    with pytest.raises(ModelError, match="There are 1 classes"):
        CARPReward.load(folder, target="kind", classes=["kind"])
    bare = saved_carp(tmp_path / "bare")
    with pytest.raises(
        ConfigError, match=r"not what is wanted: give CARPReward\.load\(…\) a critique, or train it"
    ) as told:
        load_reward(bare)
    assert "\n" not in str(told.value)
    assert CARPReward.load(bare, critique="good")(["q"], ["ab"])
    with pytest.raises(ModelError, match="is no folder of a CARP model"):
        CARPReward.load(tmp_path)
    (bare / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_reward(bare)


def test_ppo_and_best_of_n_are_rewarded_by_it(folder: Path, classes: Path, tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path / "ppo", reward=str(classes), num_rollouts=1)
    trainer.train()
    assert trainer.state.log_history
    outputs = best_of_n(tmp_path / "best", reward=[(str(folder), 1.0), (str(classes), 0.5)]).generate(["q", "qx"])
    both = [load_reward(str(place)) for place in (folder, classes)]
    for output in outputs:
        given = [reward([output.prompt] * 4, output.samples) for reward in both]
        assert output.rewards == pytest.approx([a + b / 2 for a, b in zip(*given, strict=True)], abs=1e-5)
    # A run is known by weights and goal.
    rows = prompt_rows(2)
    best_of_n(tmp_path / "run", reward=str(classes), train_dataset=rows, max_steps=1).train()
    known = json.loads((tmp_path / "run" / "genrlhf_run.json").read_text(encoding="utf-8"))["reward"]
    assert known["settings"]["target"] == "kind" and known["settings"]["digest"]
    with pytest.raises(RunFolderError, match="reward"):
        other = CARPReward.load(classes, target="rude")
        best_of_n(tmp_path / "run", reward=other, train_dataset=rows, max_steps=1).train()


def test_encodings_that_are_no_numbers_name_the_completion(classes: Path) -> None:
    model, tokenizers = load_carp(classes)
    reward = CARPReward(model, tokenizers)
    assert isinstance(model, CARPModel)
    with torch.no_grad():
        model.passage_projection.weight.fill_(float("nan"))
    values = as_reward(reward)(PROMPTS, TEXTS)
    with pytest.raises(RewardError, match="The reward carp gave nan to the completion 'abab' of the prompt 'q'"):
        check_rewards(values, PROMPTS, TEXTS, name=reward.name)
