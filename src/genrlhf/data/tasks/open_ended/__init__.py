"""Questions with many right answers that code can check: quality and diversity without a judge."""

from __future__ import annotations

from genrlhf.data.tasks.open_ended.task import TASK, load_open_ended
from genrlhf.data.tasks.open_ended.wordnet import notice

__all__ = ["TASK", "load_open_ended", "notice"]
