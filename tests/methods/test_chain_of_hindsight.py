"""Chain of Hindsight: what is learnt of a chain, its identities, and how its model is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.data.asking import Asking, asking_of
from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import ChainOfHindsight, SampledHindsight
from genrlhf.ops import forgetful_mask
from genrlhf.trainers import Completion, Group, SFTConfig, SFTTrainer
from tests.helpers import tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, largest_difference, logged, weights

PAIRS = [
    {"prompt": "q" + "x" * (n % 3), "chosen": "ab" * (1 + n % 2), "rejected": "ba" * (1 + n % 3)} for n in range(8)
]
WORDS: dict[str, Any] = {"good": ["+"], "bad": ["-"]}


def trainer(folder: Path, objective: Any, rows: Any = PAIRS, *, model: Any = None, **given: Any) -> SFTTrainer:
    tokenizer = given.pop("tokenizer", tiny_tokenizer())
    settings = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "max_steps": 2, "logging_steps": 1}
    names = dict.fromkeys(name for row in rows for name in row)
    data = Dataset.from_list([{name: row.get(name) for name in names} for row in rows])
    return SFTTrainer(
        tiny_llama() if model is None else model,
        SFTConfig(str(folder), **{**QUIET, **settings, "per_device_train_batch_size": 8, **given}),
        data,
        data,
        processing_class=tokenizer,
        objective=objective,
    )


def shown(made: SFTTrainer, row: int) -> list[tuple[str, str]]:
    """Each chain of a row, and what is learnt of it."""
    line, tokenizer = made.train_dataset[row], made.processing_class
    chains = zip(line["variant_ids"], line["variant_labels"], strict=True)
    return [(tokenizer.decode(ids), tokenizer.decode([x for x in labels if x != -100])) for ids, labels in chains]


def test_chains_of_a_pair(tmp_path: Path) -> None:
    made = trainer(tmp_path, ChainOfHindsight(**WORDS, draws=40))
    single = {("q+ab<eos>", "ab<eos>"), ("q-ba<eos>", "ba<eos>")}
    chains = {("q+ab<eos>-ba<eos>", "ab<eos>ba<eos>"), ("q-ba<eos>+ab<eos>", "ba<eos>ab<eos>")}
    found = shown(made, 0)
    assert set(found) == single | chains
    assert 10 <= sum(each in chains for each in found) <= 30
    # Drawn alike again, and otherwise for another row.
    assert shown(trainer(tmp_path, ChainOfHindsight(**WORDS, draws=40)), 0) == found
    first, other = ([text.count("-") for text, _ in shown(made, row)] for row in (0, 6))
    assert first != other
    assert {each for each, _ in shown(trainer(tmp_path, ChainOfHindsight(**WORDS, chain_share=0.0, draws=9)), 0)} == {
        each for each, _ in single
    }


def test_conversations_and_other_words(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "q"}]
    rows = [{"prompt": asked, **{name: [{"role": "assistant", "content": name[0]}] for name in ("chosen", "rejected")}}]
    objective = ChainOfHindsight(["\ngood:", "\nfine:"], ["\nbad:"], chain_share=1.0, draws=30)
    found = set(shown(trainer(tmp_path, objective, rows, tokenizer=tiny_tokenizer(chat_template=True)), 0))
    assert found == {
        (text, learnt)
        for good in ("good", "fine")
        for text, learnt in (
            (f"[user]q\n{good}:\n[assistant]c<eos>\n[user]bad:\n[assistant]r<eos>\n", "c<eos>\nr<eos>\n"),
            (f"[user]q\nbad:\n[assistant]r<eos>\n[user]{good}:\n[assistant]c<eos>\n", "r<eos>\nc<eos>\n"),
        )
    }


def test_each_epoch_has_another_draw_also_when_resumed(tmp_path: Path) -> None:
    made = trainer(tmp_path, ChainOfHindsight(**WORDS, draws=3), per_device_train_batch_size=4, max_steps=7)
    seen: list[list[list[int]]] = []
    collator = made.data_collator.collator
    made.data_collator.collator = lambda rows: seen.append([row["input_ids"] for row in rows]) or collator(rows)
    made.train()
    rows = made.train_dataset["variant_ids"][:]
    for number, batch in enumerate(seen[:7]):
        epoch = number // 2
        assert all(ids in [row[epoch % 3] for row in rows] for ids in batch), number


def test_good_outputs_alone_are_sft_on_prompts_with_the_feedback(tmp_path: Path) -> None:
    labelled = [{"prompt": row["prompt"], "completion": row["chosen"], "label": True} for row in PAIRS]
    plain = [{"prompt": row["prompt"] + "+", "completion": row["chosen"]} for row in PAIRS]
    runs = []
    for name, objective, rows in (
        ("ours", ChainOfHindsight(**WORDS), labelled),
        ("sft", lambda b: -b.logprobs(), plain),
    ):
        made = trainer(tmp_path / name, objective, rows)
        made.train()
        runs.append((weights(made.model), logged(made, "loss")))
    assert largest_difference(runs[0][0], runs[1][0]) == 0 and runs[0][1] == runs[1][1]


def test_words_behind_an_output_do_not_change_its_loss(tmp_path: Path) -> None:
    losses = []
    for bad in ("-", "!?"):
        made = trainer(tmp_path, ChainOfHindsight(["+"], [bad], chain_share=1.0, draws=20), PAIRS[:1])
        line = next(i for i, (text, _) in enumerate(shown(made, 0)) if text.startswith("q+"))
        ids, labels = (torch.tensor(made.train_dataset[0][name][line]) for name in ("variant_ids", "variant_labels"))
        logp = made.model(ids.unsqueeze(0)).logits[0, :-1].log_softmax(-1)
        places = [place for place, label in enumerate(labels.tolist()) if label != -100][:3]
        losses.append([float(logp[place - 1, ids[place]]) for place in places])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_two_means_with_their_weight(tmp_path: Path) -> None:
    texts = [{"text": "abcdefgh"[:n]} for n in (3, 8)]
    single = [{"prompt": row["prompt"], "completion": row["chosen"], "label": True} for row in PAIRS[:4]]
    objective = ChainOfHindsight(**WORDS, pretrain_weight=1.5)
    made = trainer(tmp_path, objective, [*single, *texts], max_steps=1)
    model, encode, kinds = tiny_llama(), tiny_tokenizer(), ([], [])
    for row in [*single, *texts]:
        asked = encode(row["prompt"] + "+")["input_ids"] if "prompt" in row else []
        ids = asked + encode(row.get("completion", row.get("text")) + "<eos>")["input_ids"]
        logp = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        kinds["text" in row].extend(-float(logp[t - 1, ids[t]]) for t in range(max(1, len(asked)), len(ids)))
    means = [sum(each) / len(each) for each in kinds]
    figures = made.evaluate()
    assert figures["eval_loss"] == pytest.approx(means[0] + 1.5 * means[1], abs=1e-5)
    assert [figures["eval_outputs"], figures["eval_pretrain"]] == pytest.approx(means, abs=1e-5)
    for wrong, rows in ((ChainOfHindsight(**WORDS), [*single, *texts]), (objective, single)):
        with pytest.raises(DataError, match="pretrain_weight is .*, and the rows have"):
            trainer(tmp_path, wrong, rows)
    # Before a model is loaded, or a sample drawn.
    with pytest.raises(
        DataError, match=r"pretrain_weight is 1.5, .* no column 'text' to pretrain on, only prompt, chosen, rej"
    ):
        SFTTrainer(
            "there/is/no/model", SFTConfig(str(tmp_path), **QUIET), Dataset.from_list(PAIRS), objective=objective
        )
    with pytest.raises(ConfigError, match="pretrain_weight is 1.5, and samples have no texts"):
        SampledHindsight(**WORDS, pretrain_weight=1.5)


def test_past_tokens_are_hidden_and_never_a_place_from_itself() -> None:
    attended = torch.arange(50) < torch.tensor([[50], [31]])
    torch.manual_seed(0)
    mask = forgetful_mask(attended, 0.3)
    assert mask.shape == (2, 50, 50) and mask.diagonal(dim1=1, dim2=2).all()
    assert not mask.triu(1).any() and not mask[1, 40, 31:40].any()
    past = mask[0, 49, :49]
    assert 0.5 < past.float().mean() < 0.9
    # A key is hidden from all behind it.
    assert all(torch.equal(mask[0, row, :row], mask[0, 49, :row]) for row in range(1, 49))


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_hiding_nothing_changes_nothing_and_hiding_does(make: Any, tmp_path: Path) -> None:
    first = []
    for share in (0.0, 1e-9, 0.5):
        made = trainer(tmp_path / f"{share}", ChainOfHindsight(**WORDS, hidden=share), model=make(), max_steps=1)
        made.train()
        first.append(logged(made, "loss")[0])
    assert first[0] == pytest.approx(first[1], abs=1e-5) and abs(first[2] - first[0]) > 1e-3


def test_the_model_says_how_it_is_asked(tmp_path: Path) -> None:
    made = trainer(tmp_path, ChainOfHindsight(["!", "+"], ["-"]), save_strategy="steps", save_steps=1, max_steps=1)
    made.train()
    for folder in (tmp_path, tmp_path / "checkpoint-1"):
        assert asking_of(folder) == Asking(after="!")
    trainer(tmp_path / "plain", None, [{"prompt": "q", "completion": "a"}] * 8).save_model(str(tmp_path))
    assert asking_of(tmp_path) is None


def test_the_best_and_the_worst_of_samples() -> None:
    def group(texts: str, rewards: list[float], ended: bool = True) -> Group:
        return Group("q", [Completion(text, ended) for text in texts], rewards=rewards)

    made = SampledHindsight(**WORDS)(
        [group("abc", [0, 2, 1]), group("ab", [1, 1]), group("ab", [1, 2], ended=False), group("aab", [3, 1, 2])]
    )
    assert [(row["chosen"], row["rejected"]) for row in made.rows] == [("b", "a")]
    assert list(made.left_out.values()) == [1, 1, 1]
    assert json.dumps([dict(row) for row in made.rows])
    assert SampledHindsight(**WORDS, hidden=0.1).objective == ChainOfHindsight(**WORDS, hidden=0.1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"good": []}, r"good is \[\]; give a list of texts"),
        ({"bad": ["-", " "]}, "bad is .*; give a list of texts"),
        ({"good": "+"}, "good is '\\+'; give a list"),
        ({"good": ["-"]}, "'-' is feedback of good and of bad outputs"),
        ({"hidden": 1.0}, r"hidden must be in \[0, 1\)"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], words: str) -> None:
    for kind in (ChainOfHindsight, SampledHindsight):
        with pytest.raises(ConfigError, match=words):
            kind(**{**WORDS, **given})


def test_rows_that_cannot_be_chained(tmp_path: Path) -> None:
    for change, words in (
        ({"rejected": "abab"}, "row 7: chosen and rejected are both 'abab'"),
        ({"chosen": "ab" * 20}, r"row 7: what ChainOfHindsight makes of it has \d+ tokens, and max_length=40"),
    ):
        with pytest.raises(DataError, match=words):
            trainer(tmp_path, ChainOfHindsight(**WORDS), [*PAIRS[:7], {**PAIRS[7], **change}], max_length=40)
    with pytest.raises(DataError, match="rejected"):
        trainer(tmp_path, ChainOfHindsight(**WORDS), [{"prompt": "q", "chosen": "a"}])
    with pytest.raises(ConfigError, match="packing=True makes one row of several"):
        trainer(tmp_path, ChainOfHindsight(**WORDS), packing=True)
