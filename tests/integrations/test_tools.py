"""Files that other tools wrote, read as rows of ours."""

from __future__ import annotations

import gzip
import json
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pandas
import pytest

from genrlhf.errors import DataError
from genrlhf.integrations import OutputsFile, load_outputs
from genrlhf.integrations.registry import FORMATS, recognise

FILES = Path(__file__).parent / "files"


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


FRUIT = "Name a fruit, " + "please. " * 30
NAMES = [
    {"prompt": "Name a colour.", "outputs": ["answer 0", "answer 3 é漢"], "reference": "red"},
    {"prompt": FRUIT, "outputs": ["answer 2", "answer 5 é漢"], "reference": "pear"},
    {"prompt": user("Name an animal."), "outputs": ["answer 1 é漢", "answer 4"], "reference": "dog"},
]
EXPECTED: dict[str, list[dict[str, Any]]] = {
    "alpaca_eval.json": [
        {"prompt": "Name a colour.", "outputs": ["Red."], "generator": "tiny-model", "dataset": "helpful_base"},
        {
            "prompt": "Nenne ein Tier – bitte.",
            "outputs": ["Die Katze.\nSie schnurrt."],
            "generator": "tiny-model",
            "dataset": "koala",
        },
        {"prompt": "Say nothing.", "outputs": [""], "generator": "tiny-model", "dataset": "koala"},
    ],
    "transformers_bare.json": [
        {"prompt": None, "outputs": [" red.", " red, and you've managed"]},
        {"prompt": None, "outputs": [" a dog. What's your", " the elephant, which is a"]},
    ],
    "transformers_chat.json": [
        {
            "prompt": user("Name a colour."),
            "outputs": ["The perfect colour: Red.", "The colour I mentioned is actually"],
        },
        {"prompt": user("Name an animal."), "outputs": ["In the realm of animals,", "An animal is not an animal"]},
    ],
    "transformers_chat_flat.json": [
        {"prompt": user("Name a colour."), "outputs": ["The colour that most people's", "Alright, I'm glad"]}
    ],
    "trl_text.parquet": [
        {
            "prompt": "My favourite colour is",
            "outputs": [" green.\n\n9. Write a C", " lavender, what are you willing to compromise"],
        },
        {
            "prompt": "My favourite animal is",
            "outputs": [" often employed as inspiration for creative writing.", ' something...?"\n\nMaxTech:'],
        },
    ],
    "trl_chat.parquet": [
        {
            "prompt": user("Name a colour."),
            "outputs": ["The planet of Kronos, in", "Where does a star have a color?"],
        },
        {"prompt": user("Name an animal."), "outputs": ["Premis (December printing) is", "The Nebocyon thylacine"]},
    ],
    "lm_eval_samples.jsonl": [
        {
            "prompt": "Question: Name a colour.\nAnswer:",
            "outputs": [" Red", " \nIf the user provides a wrong answer, \n", " None."],
            "reference": "red",
        },
        {
            "prompt": "Question: Name an animal, please.\nAnswer:",
            "outputs": [" ECHO-22421.", " \n(I)", " Atlelebias melanitofloracostella\n"],
            "reference": "dog",
        },
    ],
    "lighteval_details.parquet": [
        {
            "prompt": "Name a colour.",
            "outputs": ["red", "blue", "green"],
            "reference": "red",
            "dataset": "custom|names|0",
        },
        {"prompt": "Name an animal.", "outputs": ["dog", "a cat", ""], "reference": "dog", "dataset": "custom|names|0"},
    ],
    "inspect.eval": NAMES,
    "inspect.json.gz": NAMES,
    "noveltybench_generations.jsonl": [
        {"prompt": "Name a colour.", "outputs": ["Red.", "Blue.", "Red."], "generator": "tiny-model"},
        {"prompt": "Name an animal.", "outputs": ["A cat.", "A cat.", ""], "generator": "tiny-model"},
    ],
    "openai_batch_output.jsonl": [
        {"prompt": None, "outputs": ["A cat.", "A dog."]},
        {"prompt": None, "outputs": ["Red."]},
    ],
    "openai_batch_responses.jsonl": [{"prompt": None, "outputs": ["Red."]}],
    "vllm_batch.jsonl": [{"prompt": None, "outputs": ["Red."]}, {"prompt": None, "outputs": ["A cat."]}],
    "vllm_outputs.json": [
        {"prompt": "My favourite colour is", "outputs": [" red.", " blue"]},
        {"prompt": None, "outputs": [" a cat.", ""]},
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_files_of_other_tools(name: str) -> None:
    assert load_outputs(FILES / name) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_name_of_a_file_does_not_matter(name: str, tmp_path: Path) -> None:
    other = tmp_path / "outputs"
    data = (FILES / name).read_bytes()
    other.write_bytes(data)
    assert load_outputs(other) == EXPECTED[name]
    if not name.endswith((".parquet", ".eval", ".gz")):
        other.write_bytes(gzip.compress(data))
        assert load_outputs(other) == EXPECTED[name]
        other.write_bytes(data.decode().encode("utf-16"))
        assert load_outputs(other) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.endswith((".json", ".jsonl"))])
def test_lines_and_lists_are_the_same(name: str, tmp_path: Path) -> None:
    text = (FILES / name).read_text(encoding="utf-8")
    rows = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    for form in (
        "\r\n".join(map(json.dumps, rows)) + "\r\n",
        json.dumps(rows),
        "\ufeff" + json.dumps(rows, indent=2, ensure_ascii=False),
    ):
        (tmp_path / "x").write_text(form, encoding="utf-8", newline="")
        assert load_outputs(tmp_path / "x") == EXPECTED[name]


def test_what_is_left_out_is_counted() -> None:
    file = OutputsFile(FILES / "openai_batch_output.jsonl")
    assert len(list(file)) == 2
    assert (file.outputs_left_out, file.rows_left_out, file.first_left_out) == (2, 1, "line 2")
    [note] = file.notes()
    assert "2 output(s) that are null are left out, and 1 row(s) that have no other; the first is in line 2" in note


def test_outputs_and_input_of_a_batch_are_joined() -> None:
    prompts = FILES / "openai_batch_input.jsonl"
    system = [{"role": "system", "content": "Be brief."}, *user("Name a colour.")]
    assert load_outputs(FILES / "openai_batch_output.jsonl", prompts=prompts) == [
        {"prompt": user("Name an animal."), "outputs": ["A cat.", "A dog."]},
        {"prompt": system, "outputs": ["Red."]},
    ]
    assert load_outputs(FILES / "vllm_batch.jsonl", prompts=prompts) == [
        {"prompt": system, "outputs": ["Red."]},
        {"prompt": user("Name an animal."), "outputs": ["A cat."]},
    ]
    with pytest.raises(DataError, match=r"line 1 is a request of a batch; give the output of the batch"):
        load_outputs(prompts)


def test_requests_with_one_prompt_are_samples_of_it(tmp_path: Path) -> None:
    asked = [{"custom_id": str(n), "body": {"prompt": ["p", "q"][n // 2]}} for n in range(4)]
    said = [
        {"custom_id": str(n), "response": {"status_code": 200, "body": {"choices": [{"text": f"o{n}"}]}}}
        for n in (3, 0, 1, 2)
    ]
    (tmp_path / "in").write_text("\n".join(map(json.dumps, asked)))
    (tmp_path / "out").write_text("\n".join(map(json.dumps, said)))
    found = load_outputs(tmp_path / "out", prompts=tmp_path / "in")
    assert found == [{"prompt": "q", "outputs": ["o3", "o2"]}, {"prompt": "p", "outputs": ["o0", "o1"]}]
    (tmp_path / "in").write_text(json.dumps(asked[0]))
    with pytest.raises(DataError, match=r"out, line 1 answers '3', which is not in .*in; give the input"):
        load_outputs(tmp_path / "out", prompts=tmp_path / "in")


def test_prompts_in_front_of_outputs_are_taken_off(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text('["My favourite colour is", "My favourite animal is"]')
    found = load_outputs(FILES / "transformers_nested.json", prompts=prompts)
    assert found == [
        {"prompt": "My favourite colour is", "outputs": [" [colour_1] and", " red. I can paint it"]},
        {"prompt": "My favourite animal is", "outputs": [" the cat.\n\nAs", " a cat.\n*When"]},
    ]
    # Without a prompt in front, nothing is taken off.
    bare = load_outputs(FILES / "transformers_bare.json", prompts=prompts)
    assert [row["outputs"] for row in bare] == [row["outputs"] for row in EXPECTED["transformers_bare.json"]]
    file = OutputsFile(FILES / "transformers_nested.json")
    assert [row["prompt"] for _, row in file] == [None, None]
    assert "in 2 row(s) all outputs begin alike" in file.notes()[0]
    prompts.write_text('["one"]')
    with pytest.raises(DataError, match=r"prompts.json has 1 prompt\(s\), and .* has more rows"):
        load_outputs(FILES / "transformers_nested.json", prompts=prompts)
    prompts.write_text('["one", "two", "three"]')
    with pytest.raises(DataError, match=r"prompts.json has 3 prompts, and .* has 2 row\(s\)"):
        load_outputs(FILES / "transformers_nested.json", prompts=prompts)


def test_a_flat_list_says_not_whose_samples_it_holds(tmp_path: Path) -> None:
    file = FILES / "transformers_flat.json"
    with pytest.raises(DataError, match="may be samples of one prompt, or an output for each of several"):
        load_outputs(file)
    (tmp_path / "one").write_text('[{"prompt": "My favourite colour is"}]')
    assert load_outputs(file, prompts=tmp_path / "one") == [
        {"prompt": "My favourite colour is", "outputs": [" blue.", " sand?"]}
    ]
    (tmp_path / "two").write_text("prompt\nx\nMy favourite colour is")
    assert load_outputs(file, prompts=tmp_path / "two") == [
        {"prompt": "x", "outputs": ["My favourite colour is blue."]},
        {"prompt": "My favourite colour is", "outputs": [" sand?"]},
    ]
    assert len(load_outputs(file, outputs_column="generated_text")) == 2


def test_likelihoods_are_no_outputs() -> None:
    with pytest.raises(DataError, match=r"line 1 holds likelihoods, and no text that a model wrote"):
        load_outputs(FILES / "lm_eval_likelihoods.jsonl")


def test_older_and_chat_files_of_lm_eval(tmp_path: Path) -> None:
    row = {"doc": {}, "target": "t", "arguments": [["p", {"until": []}]], "resps": [["a"]], "filtered_resps": ["a"]}
    chat = {"gen_args_0": {"arg_0": [json.dumps(user("hi"))], "arg_1": {"until": []}}}
    (tmp_path / "x").write_text(json.dumps(row) + "\n" + json.dumps({**row, "arguments": chat}))
    found = load_outputs(tmp_path / "x")
    assert [one["prompt"] for one in found] == ["p", user("hi")]
    (tmp_path / "x").write_text(json.dumps({**row, "arguments": row["arguments"] * 2, "resps": [["a"], ["b"]]}))
    with pytest.raises(DataError, match=r"in 'resps' for 2 request\(s\)"):
        load_outputs(tmp_path / "x")


def test_older_details_of_lighteval(tmp_path: Path) -> None:
    rows = [{"full_prompt": "p", "predictions": ["a", "b"], "choices": ["x", "y"], "gold_index": 1}]
    (tmp_path / "x").write_text(json.dumps(rows))
    assert load_outputs(tmp_path / "x") == [{"prompt": "p", "outputs": ["a", "b"], "reference": "y"}]
    (tmp_path / "x").write_text(json.dumps([{"full_prompt": "p", "predictions": [["a", "b"]], "gold": ["z"]}]))
    assert load_outputs(tmp_path / "x") == [{"prompt": "p", "outputs": ["a", "b"], "reference": "z"}]


def test_steps_of_a_table_are_apart(tmp_path: Path) -> None:
    lines = ["step,prompt,completion", "1,p,a", "1,q,b", '1,p,"c, d"', "2,p,e"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    assert [(row["prompt"], row["outputs"]) for row in load_outputs(tmp_path / "table.csv")] == [
        ("p", ["a", "c, d"]),
        ("q", ["b"]),
        ("p", ["e"]),
    ]


def test_messages_in_the_cells_of_a_table(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": "it's"}]
    table = pandas.DataFrame({"prompt": ["p"], "completion": [json.dumps(said)]})
    table.to_csv(tmp_path / "x.csv", index=False)
    assert load_outputs(tmp_path / "x.csv") == [{"prompt": "p", "outputs": ["it's"]}]
    pandas.DataFrame({"prompt": ["p"], "completion": [said]}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(DataError, match=r"line 2 has .* in 'completion': messages as Python shows them"):
        load_outputs(tmp_path / "x.csv")


def test_models_are_not_mixed(tmp_path: Path) -> None:
    rows = [{"instruction": "i", "output": "o", "generator": name} for name in ("a", "b")]
    (tmp_path / "x").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="row 1 is of 'b', and rows before it of 'a'"):
        load_outputs(tmp_path / "x")


def test_the_input_of_an_alpaca_instruction_is_part_of_the_prompt(tmp_path: Path) -> None:
    rows = [{"instruction": "Sort.", "input": text, "output": "o"} for text in ("", "b a")]
    (tmp_path / "x").write_text(json.dumps(rows))
    assert [row["prompt"] for row in load_outputs(tmp_path / "x")] == ["Sort.", "Sort.\n\nb a"]


def rezipped(path: Path, **changes: bytes) -> Path:
    """Write the members of the Inspect log, unpacked out of its JSON form, as a zip of the standard library's."""
    log = json.loads(gzip.decompress((FILES / "inspect.json.gz").read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        for sample in reversed(log["samples"]):
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        for name, data in changes.items():
            archive.writestr(f"samples/{name}_epoch_1.json", data)
    return path


def test_logs_of_older_versions_of_inspect(tmp_path: Path) -> None:
    assert load_outputs(rezipped(tmp_path / "x.eval")) == NAMES


def test_a_log_of_one_line(tmp_path: Path) -> None:
    log = json.loads(gzip.decompress((FILES / "inspect.json.gz").read_bytes()))
    (tmp_path / "x.json").write_text(json.dumps(log))
    assert load_outputs(tmp_path / "x.json") == NAMES
    del log["samples"]
    (tmp_path / "x.json").write_text(json.dumps(log))
    with pytest.raises(DataError, match="is an Inspect log without samples"):
        load_outputs(tmp_path / "x.json")


def test_a_sample_of_inspect_that_failed_is_counted(tmp_path: Path) -> None:
    failed = {"id": 4, "epoch": 1, "input": "q", "target": "", "output": {"model": "m", "choices": []}, "error": {}}
    file = OutputsFile(rezipped(tmp_path / "x.eval", **{"4": json.dumps(failed).encode()}))
    assert [row for _, row in file] == NAMES
    assert (file.outputs_left_out, file.rows_left_out) == (1, 1)


def test_every_format_knows_its_own_files_only() -> None:
    known = {name: recognise(first(FILES / name), name).name for name in EXPECTED}
    assert set(known.values()) == {one.name for one in FORMATS} - {"genrlhf"}
    for name, expected in known.items():
        assert [one.name for one in FORMATS if one.recognise(first(FILES / name))] == [expected]


def test_the_table_of_the_docs_has_every_format() -> None:
    table = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [one.name for one in FORMATS]


def first(path: Path) -> Any:
    from genrlhf.integrations.files.records import Records

    return Records(path).first()


ODD: tuple[Any, ...] = (None, 5, -1, 1e999, True, "", "x", [], {}, [None], [5], ["x"], [[]], [{}], {"a": 1}, [["x"]])


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"inspect.json.gz"}))
def test_odd_values_anywhere_are_read_or_refused(name: str, tmp_path: Path) -> None:
    """A value of a record is something else: rows of ours come, or an error that says where."""
    from genrlhf.integrations.files.records import Records

    records = [record for _, record in Records(FILES / name).rows()][:2]
    file = tmp_path / "x.json"
    changes = [(path, odd) for path in paths(records) for odd in ODD]
    random.Random(0).shuffle(changes)
    for path, odd in changes[:120]:
        changed = json.loads(json.dumps(records))
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = odd
        file.write_text(json.dumps(changed))
        try:
            rows = load_outputs(file)
        except DataError as error:
            assert "x.json" in str(error) and len(str(error)) < 4000
        else:
            assert all(isinstance(text, str) for row in rows for text in row["outputs"])


def paths(value: Any, depth: int = 7) -> list[list[Any]]:
    """Return the ways to all values within a value, but for what no reader looks at."""
    if depth == 0 or not isinstance(value, (dict, list)):
        return []
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:2]
    found = []
    for step, inner in items:
        if step not in ("doc_hash", "prompt_token_ids", "token_ids", "usage", "model_usage", "metric", "source"):
            found += [[step], *([step, *rest] for rest in paths(inner, depth - 1))]
    return found
