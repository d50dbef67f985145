"""Completions as tables in W&B, trackio and TensorBoard: with stand-ins for these, which no test installs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers import TrainerCallback

from genrlhf.integrations import load_outputs
from genrlhf.integrations.callback.tables import as_markdown, as_text
from tests.integrations.test_diversity_callback import PROMPTS, callback
from tests.integrations.trainers import trained


class Table:
    """A table of W&B or trackio."""

    def __init__(self, *, dataframe: Any) -> None:
        self.rows = dataframe.to_dict(orient="records")


class Module(ModuleType):
    """The module of such a logger."""

    Table = Table

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.logged: list[dict[str, Any]] = []

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)


class Scalars(TrainerCallback):
    """What sends the Trainer's figures on."""

    def __init__(self) -> None:
        self._initialized = True
        self.figures: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.figures.append((state.global_step, dict(logs)))


class WandbCallback(Scalars):
    """That of W&B."""


class Mine(WandbCallback):
    """One that a user has changed."""


class TrackioCallback(Scalars):
    """That of trackio."""


class TensorBoardCallback(Scalars):
    """That of TensorBoard; it is its own writer."""

    def __init__(self) -> None:
        super().__init__()
        self.tb_writer: Any = self
        self.texts: list[tuple[str, str, int]] = []

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts.append((name, text, step))

    def flush(self) -> None:
        return None


@pytest.mark.parametrize(("kind", "module"), [(WandbCallback, "wandb"), (Mine, "wandb"), (TrackioCallback, "trackio")])
def test_loggers_get_figures_from_the_trainer_and_completions_as_a_table(
    kind: type[Scalars], module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, scalars = Module(module), kind()
    monkeypatch.setitem(sys.modules, module, logger)
    verifier = {"verifier": lambda completions: [True] * len(completions)}
    trained("transformers", tmp_path, [scalars, callback(table_prompts=2, **verifier)])
    ours = [(step, logs) for step, logs in scalars.figures if "diversity/per_input/ead" in logs]
    assert [step for step, _ in ours] == [0, 2, 4]
    assert [values["train/global_step"] for values in logger.logged] == [0, 2, 4]
    rows = logger.logged[-1]["diversity/completions"].rows
    written = load_outputs(tmp_path / "diversity" / "step-4.jsonl")
    assert [row["completion"] for row in rows] == [text for row in written[:2] for text in row["outputs"]]
    assert [row["prompt"] for row in rows] == [prompt for prompt in PROMPTS[:2] for _ in range(3)]
    assert rows[0].keys() == {"prompt", "sample", "completion", "ended", "valid"}


def test_tensorboard_gets_a_text_that_is_no_markdown_of_the_model(tmp_path: Path) -> None:
    board = TensorBoardCallback()
    trained("transformers", tmp_path, [board, callback(table_prompts=1)])
    assert [(name, step) for name, _, step in board.texts] == [("diversity/completions", step) for step in (0, 2, 4)]
    assert board.texts[0][1].startswith(
        "| prompt | sample | completion | ended |\n| --- | --- | --- | --- |\n| q | 0 | "
    )
    hostile = as_markdown(
        [{"completion": "a | b\n# <script>alert(1)</script> ![x](http://y) `c` $d$ *e*", "reward": 0.25}]
    )
    assert hostile.splitlines()[2] == (
        r"| a \| b \# \<script\>alert\(1\)\</script\> \!\[x\]\(http\://y\) \`c\` \$d\$ \*e\* | 0.25 |"
    )


def test_nothing_is_sent_where_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, scalars = Module("wandb"), WandbCallback()
    monkeypatch.setitem(sys.modules, "wandb", logger)
    trained("transformers", tmp_path / "a", [scalars, callback(table_prompts=0)])
    trained("transformers", tmp_path / "b", [callback()])
    scalars._initialized = False
    trained("transformers", tmp_path / "c", [scalars, callback()])
    assert logger.logged == []


def test_a_conversation_is_shown_with_its_roles() -> None:
    assert as_text([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]) == "system: s\nuser: u"
