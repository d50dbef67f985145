"""What `genrlhf diversity` says of outputs of which it is known which are right."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError, DataError, excerpt, printable
from genrlhf.integrations.verdicts import listed
from genrlhf.tables import aligned

if TYPE_CHECKING:
    from genrlhf.metrics.diversity.evaluation import DiversityEvaluation, OutputsRow
    from genrlhf.metrics.paired import PairedComparison
    from genrlhf.metrics.solutions.crossing import CrossingPoint
    from genrlhf.metrics.solutions.evaluation import SolutionsTally
    from genrlhf.metrics.solutions.filtered import FilteredDiversity
    from genrlhf.types import Estimate

__all__ = ["SolutionsReport", "VerdictsOf", "add_verdict_options", "solutions_report"]

_KNOWN_COLUMNS = ("valid", "correct", "verdicts")
_POWERS = (1, 4, 16, 64, 256, 1024)


def add_verdict_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which outputs are right."""
    group = parser.add_argument_group(
        "outputs that are right or wrong",
        "Where verdicts are known, pass@k, the diversity of the right outputs and more are printed too. They are read "
        "from a column valid, correct or verdicts that is a list of booleans, one an output, or come from --checker; "
        "with --compare the k at which the first file overtakes is said.",
    )
    group.add_argument(
        "--k",
        help="the k of pass@k and pass^k, with commas between them (default: of 1, 4, 16, 64, … those that there are "
        "outputs for)",
    )
    group.add_argument(
        "--verdicts",
        metavar="COLUMN",
        help="the column with the verdicts, if it has another name: a list, or one a row with --group-by",
    )
    group.add_argument(
        "--checker",
        metavar="MODULE:FUNCTION",
        help="a function of prompts, completions (and columns of the file, repeated for each) that returns True or "
        "False for each completion, in place of a column; it may lie in the current folder, and sees outputs before "
        "--match-lengths",
    )


def ks_of(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of `--k`."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"--k is {excerpt(text)}; give whole numbers of at least 1 with commas between them.")
    return tuple(sorted(set(numbers)))


class VerdictsOf:
    """Takes the verdicts of the rows of one file, from a column or a checker.

    Attributes:
        tally: of the verdicts so far; None where rows have none.
    """

    def __init__(self, args: argparse.Namespace, checker: Callable[..., Any] | None) -> None:
        self.k, self.checker = args.k, checker
        # The reader puts those of a column that is named there.
        self.column = None if args.verdicts is None else "verdicts"
        self.kept = args.outputs_per_input
        self.tally: SolutionsTally | None = None
        self._first = True

    def add(self, row: OutputsRow, columns: Mapping[str, Any]) -> None:
        """Count a row.

        Args:
            row: its outputs, of which there may be fewer than the file has.
            columns: all that the file has of it.
        """
        from genrlhf.metrics.solutions.evaluation import SolutionsTally

        if self._first:
            self._first = False
            if self.checker is None and self.column is None:
                self.column = next((name for name in _KNOWN_COLUMNS if _are_verdicts(columns, name)), None)
            if self.checker is not None or self.column is not None:
                self.tally = SolutionsTally()
            elif self.k is not None:
                raise ConfigError(
                    f"--k needs to know which outputs are right, and {row.place} has no column "
                    f"{', '.join(_KNOWN_COLUMNS)} with a boolean for each; give --checker "
                    "MODULE:FUNCTION or --verdicts COLUMN."
                )
        if self.tally is not None:
            self.tally.add(row, self._verdicts(row, columns))

    def _verdicts(self, row: OutputsRow, columns: Mapping[str, Any]) -> Any:
        if self.checker is not None:
            return _checked(self.checker, row, columns)
        found = listed(columns.get(self.column or ""))
        if found is None:
            raise DataError(f"{row.place} has no verdicts in {self.column!r}; give a list of booleans, one an output.")
        return found[: self.kept] if isinstance(found, list) else found


def load_checker(place: str | None) -> Callable[..., Any] | None:
    """Return the function that `--checker` names."""
    if place is None:
        return None
    from genrlhf.places import load_place
    from genrlhf.rewards.calls import CallableReward

    what = f"The checker {place!r}"
    if ":" not in place:
        raise ConfigError(f"--checker is {excerpt(place)}; give package.module:function.")
    found = load_place(place, what)
    if not callable(found):
        raise ConfigError(f"{what} is {excerpt(found)}; give a function of prompts and completions.")
    return CallableReward(found)


def _checked(checker: Callable[..., Any], row: OutputsRow, columns: Mapping[str, Any]) -> list[float]:
    from genrlhf.rewards.checks import check_rewards, reward_name

    n = len(row.outputs)
    known = ("prompt", "outputs", "logprobs", "prompts", "completions")
    # Lists that go with the outputs are dealt out to them; all else is the input's.
    dealt = {
        name: value[:n] if isinstance(value, list) and len(value) == len(columns["outputs"]) else [value] * n
        for name, value in columns.items()
        if name not in known
    }
    prompts = [columns.get("prompt")] * n
    values = checker(prompts, list(row.outputs), **dealt)
    return check_rewards(values, prompts, row.outputs, name=reward_name(checker))


def _are_verdicts(columns: Mapping[str, Any], name: str) -> bool:
    found = listed(columns.get(name))
    return (
        isinstance(found, list)
        and len(found) == len(columns["outputs"])
        and all(isinstance(each, bool) or each in (0, 1) for each in found)
    )


@dataclass(frozen=True)
class SolutionsReport:
    """The figures of all files that have verdicts.

    Attributes:
        figures: by file and name.
        diversity: of the right outputs, by file and metric.
        comparisons: pass@k less that of the first file.
        crossings: by file, the k at which the first one overtakes it.
    """

    figures: Mapping[str, Mapping[str, Estimate]]
    diversity: Mapping[str, Mapping[str, FilteredDiversity]]
    comparisons: Mapping[str, Mapping[str, PairedComparison]]
    crossings: Mapping[str, CrossingPoint]

    def of_file(self, file: str) -> dict[str, Any]:
        """Return the JSON form of what is known of a file, nothing where it has no verdicts."""
        if file not in self.figures:
            return {}
        return {
            "solutions": {
                **{name: figure.to_dict() for name, figure in self.figures[file].items()},
                "diversity_of_right": {name: each.to_dict() for name, each in self.diversity[file].items()},
            }
        }

    def of_comparison(self, file: str) -> dict[str, Any]:
        """Return the JSON form of how a file compares with the first."""
        if file not in self.crossings:
            return {}
        compared = {name: figure.to_dict() for name, figure in self.comparisons[file].items()}
        return {"solutions": {**compared, "crossing": self.crossings[file].to_dict()}}

    def tables(self, first: str) -> list[str]:
        """Return the figures as text, a block a file and comparison."""
        blocks = []
        for file, figures in self.figures.items():
            rows = [["", "outputs that are right"], *([name, _cell(name, figure)] for name, figure in figures.items())]
            for name, each in self.diversity[file].items():
                shown = "undefined" if each.diversity is None else str(each.diversity)
                rows.append([f"{name} of right ones", f"{shown}, of {each.coverage.value:.0%} of the inputs"])
            blocks.append("\n".join([printable(file), *aligned(rows)]))
        for file, crossing in self.crossings.items():
            rows = [["", "pass@k"], *([name, str(figure)] for name, figure in self.comparisons[file].items())]
            line = f"{first} overtakes {file} at k = {crossing}"
            if crossing.k is None:
                ahead = "; it is ahead from the start" if crossing.ci[1] == 1 else ""
                line = f"{first} does not overtake {file} up to k = {crossing.max_k}{ahead}: {crossing}"
            blocks.append("\n".join([printable(f"{file} less {first}"), *aligned(rows), printable(line)]))
        return blocks


def _cell(name: str, figure: Estimate) -> str:
    if name == "exp_entropy" and not figure.n:
        return "undefined: no output is right"
    return str(figure) if figure.n else "undefined: no input has so many outputs"


def solutions_report(
    tallies: Mapping[str, SolutionsTally | None],
    found: Mapping[str, DiversityEvaluation],
    ks: Sequence[int] | None,
    *,
    compare: bool,
    seed: int,
) -> SolutionsReport:
    """Return the figures of the files that have verdicts.

    Args:
        tallies: of every file.
        found: the evaluations of all outputs, by whose prompts inputs are matched.
        ks: of pass@k; None for powers of 4.
        compare: with the first file, where it has verdicts.
        seed: of bootstrap and flips.
    """
    known = {file: tally for file, tally in tallies.items() if tally is not None}
    if ks is None:
        ks = [k for k in _POWERS if all(k <= tally.fewest for tally in known.values())]
    figures = {file: tally.figures(ks) for file, tally in known.items()}
    diversity = {file: tally.diversity(found[file].metrics, seed=seed) for file, tally in known.items()}
    first = next(iter(tallies))
    comparisons, crossings = {}, {}
    for file, tally in known.items():
        if compare and file != first and first in known:
            places = {key: place for place, key in enumerate(found[file].keys)}
            ordered = tally.in_order([places[key] for key in found[first].keys])
            comparisons[file] = ordered.comparison(known[first], ks, seed=seed)
            crossings[file] = ordered.crossing(known[first], seed=seed)
    return SolutionsReport(figures, diversity, comparisons, crossings)
