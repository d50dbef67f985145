"""What `genrlhf judge run` prints."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from genrlhf.cli.terminal import print_json
from genrlhf.errors import printable

if TYPE_CHECKING:
    from genrlhf.metrics.preference import JudgedComparisons

__all__ = ["print_judged"]


def print_judged(
    args: argparse.Namespace,
    names: tuple[str, str],
    figures: dict[str, Any],
    judged: JudgedComparisons,
    spent: dict[str, Any],
) -> None:
    """Print the win rate of the second model, how the judge did, and what it took; as one object with `--json`."""
    if args.json:
        more = {
            "model": names[1],
            "baseline": names[0],
            **figures,
            "flip_rate": judged.flip_rate,
            "first_shown_wins": judged.first_shown_wins,
            **{name: value for name, value in spent.items() if name != "last_error"},
            "output": args.output,
        }
        print_json(more)
        return
    low, high = figures["ci"]
    controlled = figures["length_controlled"]
    first, second = map(printable, names)
    print(f"{second} beats {first} in {figures['win_rate']:.2f} % [{low:.2f}, {high:.2f}] of comparisons:")
    print(
        f"{figures['n_wins']} wins, {figures['n_wins_base']} losses, {figures['n_draws']} ties, "
        f"{figures['n_unanswered']} without an answer ({spent['unreadable']} answers could not be read, "
        f"{spent.get('failed', 0)} calls failed)"
    )
    for reason, count in spent["reasons"].items():
        print(f"    {count} of these: {printable(reason)}")
    print(f"at equal lengths {controlled['value']:.2f} % [{controlled['ci'][0]:.2f}, {controlled['ci'][1]:.2f}]")
    if judged.flip_rate is not None:
        print(f"the order changed the verdict in {100 * judged.flip_rate:.1f} %")
    if judged.first_shown_wins is not None:
        print(f"what was shown first won in {100 * judged.first_shown_wins:.1f} %")
    print(_took(spent) + f"judgements in {printable(args.output)}")


def _took(spent: dict[str, Any]) -> str:
    if spent.get("answered_now") is None:
        return ""
    tokens = f" ({spent['prompt_tokens']} + {spent['completion_tokens']} tokens" if "prompt_tokens" in spent else ""
    cost = f", cost {spent['cost']:.4g}" if spent.get("cost") is not None else ""
    if spent.get("unknown_cost"):
        cost += f", and up to {spent['unknown_cost']:.4g} more for {spent['unknown']} attempts that broke off"
    closing = ")" if tokens else ""
    return f"{spent['answered_now']} calls now{tokens}{cost}{closing}, {spent['stored']} answers were there; "
