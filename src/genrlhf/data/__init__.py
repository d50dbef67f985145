"""Tasks and their data: rows, prompt formats, splits, files, and an automatic rater; loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.data.files import read_rows, write_rows
    from genrlhf.data.formats import TLDRPost, as_completion, parse_tldr_prompt, tldr_prompt
    from genrlhf.data.rater import preferences_from_samples, rate, rouge_l
    from genrlhf.data.schema import check_rows
    from genrlhf.data.selfinstruct.config import SelfInstructConfig
    from genrlhf.data.selfinstruct.result import SelfInstructResult
    from genrlhf.data.selfinstruct.run import self_instruct
    from genrlhf.data.splits import split_by_length, split_by_subreddit, split_rows
    from genrlhf.data.task import Task
    from genrlhf.data.tasks.registry import load_task
    from genrlhf.data.tasks.tldr import load_tldr

_HOMES = {
    "SelfInstructConfig": "selfinstruct.config",
    "SelfInstructResult": "selfinstruct.result",
    "TLDRPost": "formats",
    "Task": "task",
    "as_completion": "formats",
    "check_rows": "schema",
    "load_task": "tasks.registry",
    "load_tldr": "tasks.tldr",
    "parse_tldr_prompt": "formats",
    "preferences_from_samples": "rater",
    "rate": "rater",
    "read_rows": "files",
    "rouge_l": "rater",
    "self_instruct": "selfinstruct.run",
    "split_by_length": "splits",
    "split_by_subreddit": "splits",
    "split_rows": "splits",
    "tldr_prompt": "formats",
    "write_rows": "files",
}

__all__ = [
    "SelfInstructConfig",
    "SelfInstructResult",
    "TLDRPost",
    "Task",
    "as_completion",
    "check_rows",
    "load_task",
    "load_tldr",
    "parse_tldr_prompt",
    "preferences_from_samples",
    "rate",
    "read_rows",
    "rouge_l",
    "self_instruct",
    "split_by_length",
    "split_by_subreddit",
    "split_rows",
    "tldr_prompt",
    "write_rows",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
