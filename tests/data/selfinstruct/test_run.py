"""Self-Instruct end to end with a scripted model: what it makes, how it goes on, what it refuses."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genrlhf.data import self_instruct
from genrlhf.data.selfinstruct.prompts import prompt_digest
from genrlhf.errors import ConfigError, DataError, ModelError, RunFolderError
from genrlhf.sampling import TransformersSampler
from genrlhf.text import rouge_l
from genrlhf.types import Sample, SamplingParams
from tests.data.selfinstruct.scripted import SEEDS, answer, model
from tests.helpers import tiny_llama, tiny_tokenizer

MADE = ("train.jsonl", "instructions.jsonl", "rejected.jsonl", "report.json")


def made(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in MADE}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module", params=[False, True], ids=["text", "chat"])
def chat(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def whole(chat: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    self_instruct(model, SEEDS, folder, target=20, chat=chat)
    return folder


class Scattered:
    """Answers in an order of its own, and is cut off after some answers."""

    def __init__(self, seed: int = 0, stop_after: int | None = None) -> None:
        self.draw, self.stop_after = random.Random(seed), stop_after
        self.asked: Counter[str] = Counter()

    def stream(
        self, prompts: Any, n: int, params: SamplingParams, seed: int, *, rows: Any = None, done: Any = ()
    ) -> Iterator[tuple[int, list[Sample]]]:
        for place in self.draw.sample(range(len(prompts)), len(prompts)):
            # Some samplers decode what is done once more, for the rounding of what lies beside it.
            if place in done and self.draw.random() < 0.7:
                continue
            if place not in done:
                if sum(self.asked.values()) == self.stop_after:
                    raise KeyboardInterrupt
                self.asked[prompt_digest(prompts[place])] += 1
            yield place, [Sample(answer(prompts[place]), "stop", 1)]

    def sample(self, prompts: Any, n: int, params: SamplingParams, seed: int) -> list[list[str]]:
        raise NotImplementedError


def test_rows_are_of_instructions_unlike_each_other(whole: Path, chat: bool) -> None:
    rows, kept = lines(whole / "train.jsonl"), lines(whole / "instructions.jsonl")
    assert len(kept) == 20 and len(rows) >= 15
    for one, other in itertools.combinations(
        [*(seed["instruction"] for seed in SEEDS), *(k["instruction"] for k in kept)], 2
    ):
        assert rouge_l(one, other) < 0.7
    for row in rows:
        (task,) = (each for each in kept if each["id"] == row["id"])
        assert row["instruction"] == task["instruction"] and row["instruction"] in row["prompt"]
        assert row["input"] in row["prompt"] and row["completion"].startswith(" ")
        assert row["is_classification"] is task["is_classification"]
        assert len(row["seed_ids"]) + len(task["generated_ids"]) == 8 and {*row["seed_ids"]} <= {s["id"] for s in SEEDS}
    assert {len(task["generated_ids"]) for task in kept} == {0, 2}
    # The scripted model gives one input two labels, and one output none.
    labels = {(row["input"].split()[0], row["completion"]) for row in rows if row["is_classification"]}
    assert labels == {("nice", " good")}


def test_the_report_counts_every_candidate_once(whole: Path) -> None:
    report, rejected = json.loads((whole / "report.json").read_text()), lines(whole / "rejected.jsonl")
    reasons = Counter((each["step"], each["reason"]) for each in rejected)
    for step in ("instructions", "instances"):
        found = report[step]
        taken = {name: each["count"] for name, each in found["filters"].items()}
        assert found["candidates"] == sum(taken.values()) + found["kept"]["count"]
        assert {name: count for name, count in taken.items() if count} == {
            reason: count for (of, reason), count in reasons.items() if of == step and reason != "unread"
        }
        assert sum(each["share"] for each in found["filters"].values()) + found["kept"]["share"] == pytest.approx(1)
    assert {"too_short", "keyword", "rouge_l"} <= {reason for _, reason in reasons}
    assert report["instances"]["kept"]["count"] == len(lines(whole / "train.jsonl"))
    kinds = Counter(each["is_classification"] for each in lines(whole / "instructions.jsonl"))
    assert (report["classification"]["yes"], report["classification"]["no"]) == (kinds[True], kinds[False])
    assert report["classification"]["unread"]["count"] == kinds[None] == reasons["classification", "unread"] > 0


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_answers_changes_nothing(whole: Path, chat: bool, tmp_path: Path, seed: int) -> None:
    self_instruct(Scattered(seed), SEEDS, tmp_path, target=20, chat=chat, model={**_of(model)})
    assert made(tmp_path) == made(whole)


def _of(function: Any) -> dict[str, Any]:
    return {"sampler": function.__qualname__, "model": None, "extra_body": None}


def test_a_run_that_is_stopped_anywhere_goes_on_and_asks_nothing_twice(whole: Path, chat: bool, tmp_path: Path) -> None:
    sampler = Scattered(3)
    total = len(lines(whole / "answers.jsonl"))
    for stop in (*range(1, total, 7), None):
        sampler.stop_after = stop
        try:
            self_instruct(sampler, SEEDS, tmp_path, target=20, chat=chat)
        except KeyboardInterrupt:
            # Killed while a line was written.
            with (tmp_path / "answers.jsonl").open("ab") as file:
                file.write(b'{"step": "instr')
    assert made(tmp_path) == made(whole)
    assert len(sampler.asked) == len(lines(tmp_path / "answers.jsonl")) == total and {*sampler.asked.values()} == {1}


def test_a_larger_target_goes_on_as_if_it_had_been_so_from_the_start(whole: Path, chat: bool, tmp_path: Path) -> None:
    sampler = Scattered(4)
    for target in (3, 11, 20):
        found = self_instruct(sampler, SEEDS, tmp_path, target=target, chat=chat)
        assert len(found.instructions) == target and found.stopped is None
    assert made(tmp_path) == made(whole) and set(sampler.asked.values()) == {1}
    again = self_instruct(sampler, SEEDS, tmp_path, target=20, chat=chat, row_format="messages")
    assert again.asked == 0 and again.rows[0]["prompt"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_rouge_l": 0.5}, "max_rouge_l is 0.7 there and 0.5 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"seeds": SEEDS[:7]}, "seeds is '8 tasks' .* there and '7 tasks'"),
        ({"unlike": ["Name a bird."]}, "unlike is '0 instructions' .* and '1 instructions'"),
        ({"model": {"model": "other"}}, "model.model is None there and 'other' here"),
        ({"keywords": ("bird",)}, "keywords is "),
        (
            {"instance_sampling": SamplingParams(max_new_tokens=350, temperature=0.5)},
            "instance_sampling.temperature is 0.0 there and 0.5 here",
        ),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_another_run_in_the_folder_is_refused_by_name(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    self_instruct(model, SEEDS, tmp_path, target=1)
    before = (tmp_path / "answers.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match=message) as refused:
        self_instruct(model, **{"seeds": SEEDS, "output_dir": tmp_path, "target": 2, **given})
    assert "\n" not in str(refused.value) and (tmp_path / "answers.jsonl").read_bytes() == before


def test_a_target_that_is_never_reached_ends_with_what_was_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def one_idea(prompts: list[Any]) -> list[str]:
        return [answer(prompt) if "list of" not in prompt else " Sing a song of sixpence." for prompt in prompts]

    found = self_instruct(one_idea, SEEDS, tmp_path, target=5, patience=3, requests_per_round=2)
    assert found.stopped is not None and "3 rounds in a row of 2 prompts" in found.stopped
    assert "there are 1 of 5" in caplog.text and len(lines(tmp_path / "instructions.jsonl")) == 1
    assert found.report["instructions"]["answers"] == 8
    again = self_instruct(one_idea, SEEDS, tmp_path, target=5, patience=3, requests_per_round=2)
    assert (again.stopped, again.asked) == (found.stopped, 0)
    further = self_instruct(one_idea, SEEDS, tmp_path, target=5, patience=4, requests_per_round=2)
    assert further.asked == 2


def test_a_model_of_noise_ends_in_one_line(tmp_path: Path) -> None:
    sampler = TransformersSampler(tiny_llama(max_position_embeddings=2048), tiny_tokenizer(), batch_size=4)
    drawn = SamplingParams(max_new_tokens=8)
    settings = {"target": 2, "patience": 2, "requests_per_round": 2, "instruction_sampling": drawn}
    with pytest.raises(ModelError, match="2 rounds in a row of 2 prompts .* there are 0 of 2") as stopped:
        self_instruct(sampler, SEEDS, tmp_path, **settings)
    assert "\n" not in str(stopped.value)
    assert {each["reason"] for each in lines(tmp_path / "rejected.jsonl")} <= {"unread", "unfinished", "too_short"}


def never(prompts: list[Any]) -> list[str]:
    raise AssertionError("asked")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"seeds": []}, DataError, "seeds holds no seed tasks"),
        ({"seeds": SEEDS[:5]}, DataError, r"There are 5 seed tasks, and a prompt shows 6 \(seeds_in_context\)"),
        ({"seeds": [{"task": "x"}]}, DataError, "seeds, row 0 needs an instruction, and there is none"),
        ({"seeds": [*SEEDS, {"instruction": " "}]}, DataError, "seeds, row 8 needs an instruction, and it is ' '"),
        ({"seeds": ["Name a bird."]}, DataError, "seeds, row 0 is 'Name a bird.'; give a dictionary"),
        ({"seeds": "nowhere.jsonl"}, DataError, "nowhere.jsonl does not exist"),
        ({"seeds": [{**SEEDS[0], "is_classification": "no"}]}, DataError, "'is_classification' is 'no'"),
        ({"seeds": [{**SEEDS[0], "instances": [{"input": 3}]}]}, DataError, "row 0 has the instance"),
        ({"seeds": [SEEDS[0], SEEDS[0]]}, DataError, r"the seed tasks 0 and 1 \(from 0\) have the same id 's0'"),
        ({"max_rouge_l": 1.2}, ConfigError, "max_rouge_l must be above 0 and at most 1, not 1.2"),
        ({"max_rouge_l": -0.1}, ConfigError, "max_rouge_l must be above 0"),
        ({"max_rouge_l": float("nan")}, ConfigError, "max_rouge_l must be above 0"),
        ({"target": 0}, ConfigError, "target must be a whole number, at least 1, not 0"),
        ({"min_words": 9, "max_words": 8}, ConfigError, r"max_words \(8\) must be at least min_words \(9\)"),
        ({"keywords": "map"}, ConfigError, r"write keywords=\('map',\)"),
        ({"keywords": ("?",)}, ConfigError, "keywords must be texts with words"),
        ({"seeds_in_context": 0, "generated_in_context": 0}, ConfigError, "are both 0"),
        ({"row_format": "xml"}, ConfigError, "row_format must be one of alpaca, plain, messages"),
        ({"tagret": 3}, ConfigError, "There is no setting 'tagret'"),
        ({"sampler": "model"}, ConfigError, "sampler is 'model'; give a sampler"),
    ],
    ids=lambda given: "-".join(f"{name}" for name in given) if isinstance(given, dict) else "",
)
def test_what_cannot_work_is_told_before_anything_is_asked(
    given: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as told:
        self_instruct(**{"sampler": never, "seeds": SEEDS, "output_dir": tmp_path / "run", **given})
    assert "\n" not in str(told.value) and not (tmp_path / "run").exists()


class Wrong(Scattered):
    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    def stream(self, prompts: Any, *args: Any, **options: Any) -> Any:
        return iter(self.answers)


GOOD = Sample("1. Sing a song of sixpence.", "stop", 1)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (Wrong([]), "The sampler returned nothing for 8 of 8 prompts"),
        (Wrong([(0, [GOOD])]), "The sampler returned nothing for 7 of 8 prompts .* What came is kept"),
        (Wrong([(0, [])]), "returned 0 samples of a prompt"),
        (Wrong([(0, [GOOD, GOOD])]), "returned 2 samples of a prompt"),
        (Wrong([(8, [GOOD])]), "samples of the prompt 8, and there are 8"),
        (lambda prompts: [], "returned 0 answers to 8 prompts"),
        (lambda prompts: "one text", "returned 'one text' to 8 prompts"),
        (lambda prompts: [None] * 8, "returned None for a text"),
        (lambda prompts: 1 / 0, r"The sampler raised ZeroDivisionError: .* \(test_run.py, line \d+\)"),
    ],
)
def test_what_a_sampler_does_wrong_is_told_in_one_line(sampler: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as told:
        self_instruct(sampler, SEEDS, tmp_path)
    assert "\n" not in str(told.value)


def test_an_answer_to_another_prompt_is_refused(tmp_path: Path) -> None:
    self_instruct(model, SEEDS, tmp_path, target=1)
    file = tmp_path / "answers.jsonl"
    first, _, rest = file.read_text().partition("\n")
    file.write_text(json.dumps({**json.loads(first), "prompt": "another"}) + "\n" + rest)
    with pytest.raises(RunFolderError, match=r"an answer to another prompt in its place \(step instructions, row \d\)"):
        self_instruct(model, SEEDS, tmp_path, target=1)
    file.write_text('{"step": "cooking", "row": 0, "text": "x"}\n')
    with pytest.raises(RunFolderError, match="line 1 is .* no answer of a run"):
        self_instruct(model, SEEDS, tmp_path, target=1)


def test_a_list_that_is_written_down_again_costs_no_instruction(tmp_path: Path) -> None:
    def again(prompts: list[Any]) -> list[str]:
        shown = [prompt[0]["content"].split("\n\n")[1] for prompt in prompts]
        return [f"{each}\n9. Sing a song of sixpence.\n10. Bake a pie for the king." for each in shown]

    settings = {"target": 1, "chat": True, "new_instructions": 1, "requests_per_round": 1}
    found = self_instruct(
        lambda prompts: again(prompts) if "list of" in str(prompts) else model(prompts), SEEDS, tmp_path, **settings
    )
    assert [each["instruction"] for each in found.instructions] == ["Sing a song of sixpence."]
    assert found.report["instructions"]["filters"]["beyond"]["count"] == 1


def test_instructions_alone_are_enough_and_answers_that_were_cut_off_lose_their_last_item(tmp_path: Path) -> None:
    def cut(prompts: list[Any]) -> list[Any]:
        return [Sample(answer(prompt), "length" if "list of" in prompt else "stop", 9) for prompt in prompts]

    seeds = [{"instruction": seed["instruction"]} for seed in SEEDS]
    found = self_instruct(cut, seeds, tmp_path, target=4)
    taken = found.report["instructions"]["filters"]
    assert taken["unfinished"]["count"] == found.report["instructions"]["answers"] and len(found.instructions) == 4
    assert found.instructions[0]["seed_ids"][0].startswith("seed_")
