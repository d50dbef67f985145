"""The commands of README and docs, and a folder in which they can be typed as they stand."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from tests.cli.commands import JUDGEMENTS, OTHERS, OUTPUTS
from tests.data.selfinstruct import scripted
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.metrics.preference.judging.chat_server import verdict
from tests.studies.results_record import write_example

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "integrations" / "files"

# Results tell what was typed once, for models that are not here.
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(
        file for file in (ROOT / "docs").rglob("*.md") if not {"_build", "results"} & set(file.relative_to(ROOT).parts)
    ),
]

STUDY = """
task: {name: embedded, n_demonstrations: 8, n_preferences: 8, n_prompts: 8, n_validation: 4, n_evaluation: 4}
output_dir: study
sampling: {max_new_tokens: 8, outputs_per_input: 2, diversity_inputs: 4}
metrics: [ead]
methods: {base: {}, sft: {max_steps: 1}}
"""

POOL = """
annotators:
- {name: careful, model: m}
- {name: quick, model: m, answer: letter}
"""

CHECKS = """
def which_instruction(prompts, completions):
    return ["Be right." if len(text) % 2 else "Be wrong." for text in completions]
"""


def documented_commands(file: Path) -> list[list[str]]:
    """Return what follows `genrlhf` in every line of the shell's blocks of a document, split as a shell splits it."""
    text = file.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("genrlhf ")]


def prepare(folder: Path) -> None:
    """Write every file and model that the documents name into a folder."""
    judged = [{**row, "generator_1": "sft", "generator_2": "ppo"} for row in JUDGEMENTS]
    many = [{**row, "instruction": f"{row['instruction']} {n}"} for row in judged for n in range(6)]
    files: dict[str, Any] = {
        "prompts.jsonl": [{"prompt": f"q{n}"} for n in range(3)],
        "seeds.jsonl": scripted.SEEDS,
        "outputs.jsonl": OUTPUTS,
        "sft.jsonl": _sixteen(OUTPUTS),
        "step-0.jsonl": OUTPUTS,
        "step-4.jsonl": OTHERS,
        "ppo.jsonl": _sixteen(OTHERS),
        "base_answers.jsonl": _answers([2] * 12),
        "trained_answers.jsonl": _answers([14] * 6 + [0] * 6),
        "annotations.jsonl": many,
        "tldr.jsonl": [{**row, "dataset": "tldr"} for row in many],
        "cnn.jsonl": [{**row, "dataset": "cnn", "instruction": f"n{row['instruction']}"} for row in many],
        "human_annotations.jsonl": [
            {**row, "annotator": "ann", "dataset": name} for name in ("d", "tldr") for row in many
        ],
        "critiques.jsonl": [
            {"passage": f"passage {n}", "critique": ("It is kind.", "It is rude.", "Too long.")[n % 3]}
            for n in range(8)
        ],
        "preferences.jsonl": [{"prompt": f"q{n}", "chosen": "longer text", "rejected": "short"} for n in range(6)],
    }
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = [{**row, "generator_1": "base", "generator_2": name} for name in ("sft", "ppo") for row in judged]
    (folder / "annotations.json").write_text(json.dumps(both))
    with (folder / "answers.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["question_id", "question", "answer"])
        writer.writerows([n % 3, f"q{n % 3}", f"an answer {n}"] for n in range(9))
    (folder / "study.yaml").write_text(STUDY)
    (folder / "pool.yaml").write_text(POOL)
    (folder / "my_checks.py").write_text(CHECKS)
    write_example(folder / "demo")
    _recorded(folder)
    tokenizer = tiny_tokenizer(chat_template=True)
    tokenizer.model_max_length = 4096
    base = save_model(tiny_llama(max_position_embeddings=4096), tokenizer, folder / "sft")
    for name in ("facebook/opt-125m", "some/chat-model"):
        shutil.copytree(base, folder / name)
    save_model(tiny_reward_model(), tokenizer, folder / "rm")
    _encoders(folder, base)


def _sixteen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return 30 rows with 16 outputs each."""
    return [
        {**row, "prompt": f"{row['prompt']} {n}", "outputs": [f"{row['outputs'][k % 2]} {k}" for k in range(16)]}
        for row in rows
        for n in range(5)
    ]


def _answers(right: list[int]) -> list[dict[str, Any]]:
    """Return rows with 16 outputs and their verdicts, of which so many are right."""
    return [
        {"prompt": f"q{n}", "outputs": [f"answer {k}" for k in range(16)], "valid": [k < count for k in range(16)]}
        for n, count in enumerate(right)
    ]


def _recorded(folder: Path) -> None:
    """Put files that other tools wrote under the names that the documents give such files."""
    (folder / "logs").mkdir()
    shutil.copy(RECORDED / "inspect.eval", folder / "logs" / "2026-11-26_mytask.eval")
    shutil.copy(RECORDED / "lm_eval_samples.jsonl", folder / "samples_mytask_2026-11-26.jsonl")
    shutil.copy(RECORDED / "openai_batch_input.jsonl", folder / "batch_input.jsonl")
    for name in ("base", "tuned"):
        shutil.copy(RECORDED / "openai_batch_output.jsonl", folder / f"{name}_output.jsonl")


def _encoders(folder: Path, base: Path) -> None:
    """Save what embeds and compares texts where their names on the hub lead, from this folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertForSequenceClassification

    from tests.helpers import tiny_bert

    saved = save_model(tiny_bert(), tiny_tokenizer(), folder / "bert")
    transformer = Transformer(str(saved))
    modules = [transformer, Pooling(16, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "sentence-transformers/all-MiniLM-L6-v2"))
    shutil.copytree(saved, folder / "distilbert/distilbert-base-uncased")
    classes = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
    config = BertConfig(**{**tiny_bert().config.to_dict(), "id2label": classes, "num_labels": 3})
    save_model(BertForSequenceClassification(config), tiny_tokenizer(), folder / "FacebookAI/roberta-large-mnli")


def answer(messages: list[dict[str, str]]) -> str:
    """Return what the model behind the documents' server says: verdicts, and what self-instruct asks for."""
    content = messages[-1]["content"]
    if content.startswith(scripted.BEGINNINGS):
        return scripted.answer(messages)
    return "m" if "single letter" in content else verdict(messages)


def clear(command: list[str], folder: Path) -> None:
    """Remove what a command is to make, where it is there from the start for the commands of other documents."""
    if command[0] == "sample" and not (folder / "outputs.jsonl.settings.json").exists():
        (folder / "outputs.jsonl").unlink(missing_ok=True)


def typed(command: list[str], server_url: str) -> list[str]:
    """Return a command with the server that is there, and the patterns of names that a shell expands."""
    words = [word.replace("http://localhost:8000/v1", server_url) for word in command]
    at = words.index("*.jsonl") if "*.jsonl" in words else None
    return words if at is None else [*words[:at], "tldr.jsonl", "cnn.jsonl", *words[at + 1 :]]


def label(folder: Path) -> None:
    """Write what two people save on the page whose key lies in the folder, if one does."""
    key = folder / "labelling.key.jsonl"
    if not key.is_file():
        return
    rows = [json.loads(line) for line in key.read_text().splitlines()]
    for name in ("ann", "ben"):
        labels = [{"item": row["item"], "choice": "AB"[n % 2]} for n, row in enumerate(rows)]
        document = {"format": "genrlhf-labels", "version": 1, "page": rows[0]["page"], "annotator": name}
        (folder / f"labels-{name}.json").write_text(json.dumps({**document, "labels": labels}))
