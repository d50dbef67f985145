"""The sample store survives kills, refuses other runs, and ends with the same file."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from genrlhf.cli import main
from genrlhf.errors import RunFolderError
from genrlhf.sampling import SampleStore, TransformersSampler, VerbalizedSampler
from genrlhf.sampling.asked import AskedSampler
from genrlhf.types import SamplingParams
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.processes import FORKS

ROWS: list[dict[str, Any]] = [{"prompt": "q" + "x" * (k % 4), "reference": f"r{k}"} for k in range(10)]
PARAMS = SamplingParams(max_new_tokens=5, logprobs=True)


def sampler(**options: Any) -> TransformersSampler:
    return TransformersSampler(tiny_llama(), tiny_tokenizer(), batch_size=4, **options)


def store(file: Path, rows: list[dict[str, Any]] = ROWS, **options: Any) -> SampleStore:
    settings: dict[str, Any] = {"n": 2, "params": PARAMS, "seed": 3, "model": {"model": "tiny"}, **options}
    return SampleStore(file, rows, **settings)


def sample(file: Path, **options: Any) -> SampleStore:
    made = store(file, **options)
    made.open()
    made.load()
    made.run(sampler())
    made.finish()
    return made


def test_rows_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    sample(tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [record["row"] for record in records] == list(range(10))
    assert [record["prompt"] for record in records] == [row["prompt"] for row in ROWS]
    assert [record["reference"] for record in records] == [row["reference"] for row in ROWS]
    expected = sampler().sample([row["prompt"] for row in ROWS], 2, PARAMS, 3)
    assert [record["outputs"] for record in records] == expected
    assert all(len(values) >= 1 for record in records for values in record["logprobs"])


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file that is whole; not to be written to."""
    folder = tmp_path_factory.mktemp("sampled")
    sample(folder / "out.jsonl")
    return folder


@pytest.mark.parametrize("kept", range(0, 1500, 37))
def test_cut_off_at_any_byte_it_ends_the_same(
    sampled: Path, tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    file = shutil.copytree(sampled, tmp_path, dirs_exist_ok=True) / "out.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    sample(file)
    assert file.read_bytes() == whole
    cut = kept < len(whole) and kept > 0 and whole[kept - 1 : kept] != b"\n"
    assert any("the last line was cut off" in message for message in caplog.messages) == cut


def test_a_second_start_samples_nothing(tmp_path: Path) -> None:
    sample(tmp_path / "out.jsonl")
    again = store(tmp_path / "out.jsonl")
    again.open()
    again.load()
    assert again.run(sampler()).tokens == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3}, "n is 2 there and 3 here"),
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"params": SamplingParams(max_new_tokens=5)}, "logprobs is True there and False here"),
        ({"model": {"model": "other"}}, "model is 'tiny' there and 'other' here"),
        ({"rows": ROWS[:9]}, "prompts is"),
    ],
)
def test_other_settings_are_refused_and_the_file_left_as_it_was(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    file = tmp_path / "out.jsonl"
    sample(file)
    before = file.read_bytes()
    with pytest.raises(RunFolderError, match=message):
        store(file, **options).open()
    assert file.read_bytes() == before
    sample(file, **options, overwrite=True)
    store(file, **options).open()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text('{"prompt": "q", "outputs": ["a"]}\n')
    with pytest.raises(RunFolderError, match=r"is there already, with no out.jsonl.settings.json beside it"):
        store(file).open()
    sample(tmp_path / "ours.jsonl")
    lines = (tmp_path / "ours.jsonl").read_text(encoding="utf-8").split("\n")
    lines[4] = json.dumps({"prompt": "other", "outputs": ["a", "b"], "row": 4})
    (tmp_path / "ours.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RunFolderError, match="ours.jsonl, line 5 is no output of this run"):
        store(tmp_path / "ours.jsonl").load()
    lines[4] = "{"
    (tmp_path / "ours.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RunFolderError, match="ours.jsonl, line 5 is '{', which is no JSON object"):
        store(tmp_path / "ours.jsonl").load()


def test_processes_share_the_batches_and_a_cut_off_one_goes_on_to_the_same_bits(sampled: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    parts = [store(file, process=k, processes=3) for k in range(3)]
    parts[0].open()
    for part in parts[:2]:
        part.load()
        part.run(sampler())
    # The third is killed half-way in a line, and a single process goes on with all of it.
    third = tmp_path / "out.jsonl.process-2"
    third.write_text('{"prompt": "qxx", "outp')
    sample(file)
    # Other batches would round otherwise, which shows in log-probabilities.
    assert file.read_bytes() == (sampled / "out.jsonl").read_bytes()
    assert not list(tmp_path.glob("*process*"))


def test_where_there_are_fewer_batches_than_processes_none_is_idle(tmp_path: Path) -> None:
    inner = TransformersSampler(tiny_llama(max_position_embeddings=512), tiny_tokenizer(), batch_size=4)
    whole = AskedSampler(VerbalizedSampler(inner, 2), lambda prompt: prompt + "x")
    for processes, expected in ((3, {2, 4}), (6, {1, 2})):
        shares = [store(tmp_path / "o", process=k, processes=processes).share(whole) for k in range(processes)]
        assert sorted(row for share in shares for row in share) == list(range(10))
        assert {len(share) for share in shares} == expected


def test_twenty_kills_and_the_same_file(tmp_path: Path, causal_lm_folder: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": "q" + "x" * (k % 9)}) + "\n" for k in range(600)))

    def start(file: Path) -> Any:
        options = ["--model", str(causal_lm_folder), "--prompts", str(prompts), "--n", "2", "--max-new-tokens", "4"]
        process = FORKS.Process(target=main, args=(["sample", *options, "--batch-size", "4", "--output", str(file)],))
        process.start()
        return process

    def length(file: Path) -> int:
        return file.stat().st_size if file.is_file() else 0

    whole, cut, rng, lengths = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl", random.Random(0), [0]
    start(whole).join()
    for _ in range(20):
        process = start(cut)
        # Killed once it has gone on, wherever it then is.
        while process.is_alive() and length(cut) <= lengths[-1]:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        lengths.append(length(cut))
    assert lengths[-1] < length(whole)
    last = start(cut)
    last.join()
    assert last.exitcode == 0
    assert cut.read_bytes() == whole.read_bytes()


def test_overwriting_takes_the_place_of_a_file_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text('{"prompt": "q", "outputs": ["a"]}\n')
    sample(file, overwrite=True)
    sample(tmp_path / "alone.jsonl")
    assert file.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_killed_while_overwriting_no_old_output_passes_for_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    sample(file)
    with patch.object(Path, "unlink", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        store(file, seed=4, overwrite=True).open()
    with pytest.raises(RunFolderError, match="seed is 3 there and 4 here"):
        store(file, seed=4).open()


def test_parts_of_a_file_with_brackets_in_its_name_are_found(tmp_path: Path) -> None:
    file = tmp_path / "out[1].jsonl"
    first, second = (store(file, process=process, processes=2) for process in range(2))
    first.open()
    for each in (first, second):
        each.load()
        each.run(sampler())
    first.finish()
    assert len(file.read_text(encoding="utf-8").splitlines()) == len(ROWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out[1].jsonl", "out[1].jsonl.settings.json"]
