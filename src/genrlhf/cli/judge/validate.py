"""`genrlhf judge validate`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json
from genrlhf.errors import DataError, excerpt, printable

if TYPE_CHECKING:
    from genrlhf.metrics.preference import JudgeValidation

__all__ = ["add_command"]

_PREFERRED = {"chosen", "rejected"}


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "validate",
        run,
        help="compare a judge with humans who labelled the same pairs",
        description="Say how well a judge stands in for humans, per example and in aggregate, as appendix D of Kirk et "
        "al. 2024 does: its agreement with them beside theirs with each other, Cohen's and Fleiss' kappa, bias, "
        "variance, its taste for a position and for length.",
        reads=("files", "humans"),
    )
    parser.add_argument("files", nargs="+", metavar="ANNOTATIONS", help="what the judge said, in AlpacaEval's form")
    parser.add_argument(
        "--humans",
        nargs="+",
        metavar="ANNOTATIONS",
        help='what humans said of the same pairs, as judge import writes it, or rows of "prompt", "chosen" and '
        '"rejected" (default: that the chosen output is better, of a judge that was given --preferences)',
    )


def run(args: argparse.Namespace) -> int:
    """Compare, and print."""
    from genrlhf.data.files import iter_rows
    from genrlhf.metrics.preference.validating.validation import validate_judge
    from genrlhf.studies.report import judge_table

    judged = [row for file in args.files for _, row in iter_rows(file)]
    humans = [row for file in args.humans for row in _said(file)] if args.humans else _chosen(judged)
    found = validate_judge(judged, humans)
    if args.json:
        print_json({name: one.to_dict() for name, one in found.items()})
        return 0
    print(judge_table(found))
    print("\n".join(["", *_notes(found)]))
    return 0


def _said(file: str) -> list[dict[str, Any]]:
    from genrlhf.data.files import iter_rows
    from genrlhf.metrics.preference.validating.matching import pairs_from_preferences

    rows = [row for _, row in iter_rows(file)]
    return pairs_from_preferences(rows) if rows and "chosen" in rows[0] else rows


def _chosen(judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the human labels of pairs that were judged out of a set of preferences."""
    humans = []
    for number, row in enumerate(judged):
        if {row.get("generator_1"), row.get("generator_2")} != _PREFERRED:
            raise DataError(
                f"row {number} compares {excerpt(row.get('generator_1'))} with {excerpt(row.get('generator_2'))}, not "
                "chosen with rejected; give what humans said with --humans."
            )
        humans.append({**row, "annotator": "human", "preference": 1 if row["generator_1"] == "chosen" else 2})
    return humans


def _notes(found: dict[str, JudgeValidation]) -> list[str]:
    """Return what the table leaves out: aggregates of every two models, and what was not compared."""
    lines = []
    for name, one in found.items():
        for models, rates in one.aggregate.items():
            low, high = (100 * end for end in rates.difference.ci)
            lines.append(
                f"{name}: {models}: judge {100 * rates.judge.value:.1f} %, humans {100 * rates.humans.value:.1f} %, "
                f"difference {100 * rates.difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"
            )
        if one.n_unmatched or one.n_unanswered:
            lines.append(
                f"{name}: of the pairs that humans labelled the judge has no row for {one.n_unmatched}, and no answer "
                f"to {one.n_unanswered}"
            )
        if one.fleiss_kappa is not None:
            lines.append(f"{name}: Fleiss' kappa between humans {one.fleiss_kappa:.2f}")
    return list(map(printable, lines))
