"""Readers of judges' answers, for templates of one's own."""

from __future__ import annotations

from genrlhf.metrics.preference.judging.logprobs import LogprobReader
from genrlhf.metrics.preference.judging.verdicts import (
    VerdictReader,
    read_choice,
    read_letter,
    read_patterns,
    read_ranking,
    read_scores,
    read_verdict,
)

__all__ = [
    "LogprobReader",
    "VerdictReader",
    "read_choice",
    "read_letter",
    "read_patterns",
    "read_ranking",
    "read_scores",
    "read_verdict",
]
