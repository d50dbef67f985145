"""ILF: its steps, whom it asks, and that nothing of them is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.cli import main
from genrlhf.errors import ConfigError, DataError, ModelError, RewardError
from genrlhf.methods import ILF, get_method
from genrlhf.studies import Study
from genrlhf.trainers.incorporates import WORDINGS, Incorporates
from genrlhf.types import Sample
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET
from tests.trainers.test_best_of_n import fond_of

ROWS = [{"prompt": f"q{'x' * number}", "draft": f"draft {number}"} for number in range(4)]
TEMPLATE = "{prompt}|{draft}|{feedback}"


class Scripted:
    """A sampler that writes what a function of the prompt and the sample's number says; counts what it is asked."""

    def __init__(self, write: Callable[[Any, int], str | None]) -> None:
        self.write, self.asked = write, list[Any]()

    def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
        for place, prompt in enumerate(prompts):
            if place not in done:
                self.asked.append(prompt)
                texts = [self.write(prompt, number) for number in range(n)]
                yield place, [Sample(text or "", "stop" if text else "length", 1) for text in texts]

    def sample(self, prompts: Any, n: int, params: Any, seed: int) -> list[list[str]]:
        return [[each.text for each in samples] for _, samples in self.stream(prompts, n, params, seed)]

    def settings(self) -> dict[str, Any]:
        return {}


def better(prompt: Any, number: int) -> str:
    return f"{'abc'[number % 3]}{prompt if isinstance(prompt, str) else prompt[0]['content']}"


def longer(prompts: Any, completions: Any) -> list[str]:
    return [f"longer than {len(text)}" for text in completions]


def by_letter(prompts: Any, drafts: Any, feedback: Any, refinements: Any) -> list[float]:
    return [float("bca".index(text[0])) for text in refinements]


def trainer(folder: Path, rows: Any = ROWS, *, model: Any = None, chat: bool = False, **given: Any) -> Any:
    config = {**QUIET, "max_steps": 1, "max_new_tokens": 4, "num_iterations": given.pop("num_iterations", 1)}
    method = get_method("ilf")
    args = method.config_class()(str(folder), **{**method.recipe, **config})
    settings = {"refine_template": TEMPLATE, "refiner": Scripted(better), "scorer": by_letter, **given}
    data = Dataset.from_list(list(rows))
    tokenizer = tiny_tokenizer(chat_template=chat)
    return method.build(model or tiny_llama(), args, data, settings=ILF(**settings), processing_class=tokenizer)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("chat", [False, True])
def test_the_best_refinement_is_taught_without_draft_and_feedback(chat: bool, tmp_path: Path) -> None:
    rows: Any = ROWS
    if chat:
        rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
    refiner = Scripted(better)
    made = trainer(tmp_path, rows, chat=chat, feedback=longer, refiner=refiner, refinements=3)
    made.train()
    wanted = [f"{row['prompt']}|{row['draft']}|longer than 7" for row in ROWS]
    found = rows_of(tmp_path)
    for row, given, asked, text in zip(found, rows, refiner.asked, wanted, strict=True):
        assert asked == ([{"role": "user", "content": text}] if chat else text)
        assert row["prompt"] == given["prompt"] and (row["draft"], row["score"]) == (given["draft"], 2.0)
        assert row["completion"] == ([{"role": "assistant", "content": f"a{text}"}] if chat else f"a{text}")
    tokens = made.tuner.train_dataset[0]
    prompt = [token for token, label in zip(tokens["input_ids"], tokens["labels"], strict=True) if label == -100]
    assert prompt == tiny_tokenizer()("[user]q\n[assistant]" if chat else "q")["input_ids"]


def test_selection(tmp_path: Path) -> None:
    asked: list[Any] = []

    def even(prompts: Any, drafts: Any, feedback: Any, refinements: Any) -> list[float]:
        asked.append(refinements)
        return [0.5] * len(refinements)

    # One refinement is taken as it is; of equals the first is; with the draft among them that is the draft.
    for name, given in {
        "one": {"refinements": 1, "scorer": even},
        "first": {"refinements": 3, "scorer": even},
        "draft": {"refinements": 3, "scorer": even, "keep_draft": True},
    }.items():
        trainer(tmp_path / name, feedback=longer, **given).sample_training_set()
        assert bool(asked) == (name != "one")
    texts = {name: [row["completion"] for row in rows_of(tmp_path / name)] for name in ("one", "first", "draft")}
    assert texts["one"] == texts["first"] == [f"a{row['prompt']}|{row['draft']}|longer than 7" for row in ROWS]
    assert texts["draft"] == [row["draft"] for row in ROWS]
    with pytest.raises(RewardError, match="The reward even gave nan"):
        bad = trainer(tmp_path / "nan", feedback=longer, scorer=lambda *given: [float("nan")] * len(given[3]))
        bad.transform.scorer.__name__ = "even"
        bad.sample_training_set()


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: Any) -> None:
    def write(prompt: str, number: int) -> str | None:
        # Of one prompt all are cut off; of another all copy; of a third one does, and it scores best.
        if prompt.startswith("q|"):
            return None
        copied = "say that whales sing" if prompt.startswith("qx|") or number == 0 else "they do"
        return f"{'abc'[number]} {copied}"

    def say(prompts: Any, completions: Any) -> list[str]:
        return ["Say that whales sing."] * len(prompts)

    made = trainer(tmp_path, feedback=say, refiner=Scripted(write), refinements=3, forbid_copy=3)
    made.sample_training_set()
    assert [row["completion"] for row in rows_of(tmp_path)] == ["c they do"] * 2
    assert "2 of 4 groups gave no row" in caplog.text
    assert "all refinements were cut off, or are empty (1)" in caplog.text
    assert "all refinements copy the feedback (1)" in caplog.text
    with pytest.raises(DataError, match=r"made no row of 4 groups: all refinements were cut off, or are empty \(4\)"):
        trainer(tmp_path / "none", feedback=say, refiner=Scripted(lambda *_: None)).sample_training_set()


def test_people_write_feedback_between_two_starts(tmp_path: Path, caplog: Any) -> None:
    file = tmp_path / "feedback.jsonl"
    with pytest.raises(DataError, match=rf"4 drafts wait for feedback, a line each, in {file}: write what should be"):
        trainer(tmp_path).train()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["draft"] for line in lines] == [row["draft"] for row in ROWS]

    def write(*texts: Any) -> None:
        # As people's tools leave it: other ends of lines, blank ones, no last one, another order.
        told = [{**line, "feedback": text} for line, text in zip(lines, texts, strict=True)]
        file.write_text("\r\n\r\n".join(map(json.dumps, told[::-1])), encoding="utf-8")

    write("more", " ", None, "less")
    with pytest.raises(
        DataError, match="2 of 4 drafts have no feedback yet .* the first is draft_id 1, 'draft 1' of row"
    ):
        trainer(tmp_path).train()
    write("more", False, "as it is", "less")
    made = trainer(tmp_path)
    made.train(resume_from_checkpoint=True)
    assert [row["feedback"] for row in rows_of(tmp_path)] == ["more", "as it is", "less"]
    assert "1 of 4 groups gave no row: without feedback (1)" in caplog.text
    # Of other drafts they would be feedback on nothing.
    lines[0]["draft"] = "another"
    (tmp_path / "rows.jsonl").unlink()
    write("more", False, "as it is", "less")
    with pytest.raises(DataError, match="which is none of the drafts of this run, or one of them twice; move the file"):
        trainer(tmp_path).train()
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[-1])["draft"] == "another"


def test_drawn_drafts_wait_in_a_folder_for_every_round(tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"]} for row in ROWS]
    for number in range(2):
        with pytest.raises(DataError, match=f"4 drafts wait for feedback.*iteration-{number}"):
            trainer(tmp_path, rows, model=fond_of({1: 4.0}), num_iterations=2).train()
        file = tmp_path / f"iteration-{number}" / "feedback.jsonl"
        filled = [{**json.loads(line), "feedback": "more"} for line in file.read_text(encoding="utf-8").splitlines()]
        file.write_text("\n".join(map(json.dumps, filled)), encoding="utf-8")
    assert trainer(tmp_path, rows, model=fond_of({1: 4.0}), num_iterations=2).train().global_step == 2 * 1


def test_no_step_is_done_twice(tmp_path: Path) -> None:
    asked: dict[str, int] = {"feedback": 0, "scores": 0}

    def feedback(prompts: Any, completions: Any) -> list[str]:
        asked["feedback"] += len(prompts)
        return longer(prompts, completions)

    def scorer(prompts: Any, drafts: Any, feedback: Any, refinements: Any) -> list[float]:
        asked["scores"] += 1
        if asked["scores"] == 3:
            raise KeyboardInterrupt
        return by_letter(prompts, drafts, feedback, refinements)

    refiner = Scripted(better)
    given = {"feedback": feedback, "scorer": scorer, "refiner": refiner, "refinements": 2}
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, **given).train()
    trainer(tmp_path, **given).train()
    assert asked == {"feedback": 4, "scores": 5} and len(refiner.asked) == 4


def test_models_give_feedback_and_refine(tmp_path: Path) -> None:
    folder = save_model(tiny_llama(max_position_embeddings=2048), tiny_tokenizer(), tmp_path / "model")
    said = Scripted(lambda prompt, _: f"<{prompt}>")
    made = trainer(tmp_path / "a", feedback=said, feedback_template="{draft}?{prompt}", refinements=1)
    made.sample_training_set()
    assert [row["feedback"] for row in rows_of(tmp_path / "a")] == [f"<{r['draft']}?{r['prompt']}>" for r in ROWS]
    # The policy says yes or no to what another model, by its folder, has made of its own feedback.
    model = fond_of({1: 3.0}, max_position_embeddings=2048)
    model.config.eos_token_id = 1
    save_model(tiny_llama(max_position_embeddings=2048), tiny_tokenizer(), folder)
    given = {"feedback": "policy", "refiner": str(folder), "scorer": None, "keep_draft": True}
    made = trainer(tmp_path / "b", model=model, **given, feedback_template="{draft}{prompt}")
    made.sample_training_set()
    scores = [json.loads(line)["value"] for line in (tmp_path / "b/steps/scores.jsonl").read_text().splitlines()]
    assert all(0 <= value < 1 for values in scores for value in values)


def test_the_policys_yes_is_its_share_of_both_answers() -> None:
    model, tokenizer = tiny_llama(max_position_embeddings=2048), tiny_tokenizer()
    texts = [("p", "d", "f", "new"), ("p" * 30, "dd", "fff", "newer")]
    found = Incorporates(model, tokenizer, batch_size=2)(*zip(*texts, strict=True))
    for values, (prompt, draft, words, text) in zip(found, texts, strict=True):
        shares = []
        for question, yes, no in WORDINGS:
            asked = f"{prompt}\n\nFirst text:\n{draft}\n\nFeedback on it:\n{words}\n\nNew text:\n{text}\n\n{question}"
            probabilities = (
                model(torch.tensor([tokenizer(asked)["input_ids"]])).logits[0, -1].detach().double().softmax(-1)
            )
            # A blank begins both, and tells nothing.
            for_, against = (float(probabilities[tokenizer(word)["input_ids"][0]]) for word in (yes, no))
            shares.append(for_ / (for_ + against))
        assert values == pytest.approx(sum(shares) / 5, abs=1e-6)
    with pytest.raises(ModelError, match="'Yes' and 'Yup' begin with the same token"):
        Incorporates(model, tokenizer, [("Is it?", "Yes", "Yup")])
    with pytest.raises(DataError, match="refinement 0: the prompt .* has .* tokens, and at most 64"):
        Incorporates(tiny_llama(), tokenizer)(["p"], ["d"], ["f"], ["t" * 60])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"refine_template": "{prompt} {draft}"},
            "refine_template is .*, without {feedback}, which would then have no",
        ),
        ({"feedback_template": "{draft}"}, "feedback_template is '{draft}', without {prompt}"),
        ({"refinements": 0}, "refinements is 0; it must be at least 1"),
        ({"forbid_copy": -1}, "forbid_copy is -1; it must be at least 0"),
        ({"scorer": "nowhere"}, "scorer is 'nowhere'; give a function, or where one is"),
        ({"refiner": "nowhere:SAMPLER"}, "refiner='nowhere:SAMPLER' cannot be loaded"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ILF(**given)


def test_feedback_that_is_missing(tmp_path: Path) -> None:
    rows = [{**row, "feedback": "more"} for row in ROWS]
    trainer(tmp_path / "column", rows).sample_training_set()
    assert {row["feedback"] for row in rows_of(tmp_path / "column")} == {"more"}
    rows[2]["feedback"] = ""
    with pytest.raises(DataError, match="The feedback that stands in row 2, column 'feedback', is ''; give a text"):
        trainer(tmp_path / "a", rows)
    with pytest.raises(DataError, match="has a column 'feedback' and no 'draft', which it is on; add the drafts"):
        trainer(tmp_path / "b", [{"prompt": "q", "feedback": "more"}])
    for said, message in (
        (lambda prompts, completions: ["more"], "returned 1 texts for 4 drafts; return one for each"),
        (lambda prompts, completions: ["a", "b", "", "d"], "gave to the draft 'draft 2' of row 2 is ''"),
    ):
        with pytest.raises(DataError, match=message):
            trainer(tmp_path / message[:4], feedback=said).sample_training_set()
    study = Study(task="embedded", methods={"sft": {}, "ilf": {}}, output_dir=str(tmp_path / "study"))
    with pytest.raises(
        DataError, match=r"methods\.ilf learns from feedback on completions, and the task 'embedded' has"
    ):
        study.check()


def test_the_command_line_goes_on_from_the_file(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "mine.py").write_text(
        "from tests.methods.test_ilf import Scripted, better\nREFINER = Scripted(better)\n", encoding="utf-8"
    )
    command = "train ilf --model model --train_file rows.jsonl --refiner mine:REFINER --refinements 1 --output_dir out"
    command += " --max_steps 1 --use_cpu true --report_to none --disable_tqdm true"
    arguments = [*command.split(), "--refine_template", TEMPLATE, "--json"]
    assert main(arguments) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "4 drafts wait for feedback, a line each, in out/feedback.jsonl" in said
    file = tmp_path / "out" / "feedback.jsonl"
    filled = [{**json.loads(line), "feedback": "more"} for line in file.read_text(encoding="utf-8").splitlines()]
    file.write_text("\n".join(map(json.dumps, filled)), encoding="utf-8")
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1
