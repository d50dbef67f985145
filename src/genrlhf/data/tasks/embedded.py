"""The embedded task by name: a controlled miniature of TL;DR summarisation, see `genrlhf.data.embedded`."""

from __future__ import annotations

from genrlhf.data.embedded.task import EVALUATION_SETS, load_embedded
from genrlhf.data.tasks.task_info import TaskInfo

__all__ = ["TASK"]

TASK = TaskInfo(
    name="embedded",
    about="a controlled miniature of TL;DR summarisation with a known true score",
    load=load_embedded,
    sets=tuple(EVALUATION_SETS),
    needs="nothing: generated from a seed; a base model comes with it",
    prompt="SUBREDDIT: r/…, TITLE: …, POST: …, TL;DR:, with an empty line between them",
    filters="none; no prompt is drawn twice",
    rows={
        "demonstrations": 4000,
        "preferences": 4000,
        "prompts": 2000,
        "validation": 500,
        **dict.fromkeys(EVALUATION_SETS, 500),
    },
)
