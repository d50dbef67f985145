"""What PPO carries from one rollout to the next, beside the weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from genrlhf.errors import CheckpointError, excerpt

__all__ = ["PPOState"]


@dataclass
class PPOState:
    """Figures that a checkpoint keeps.

    Attributes:
        kl_coef: the KL coefficient β of the next rollout.
        entropy_coef: the weight of the entropy bonus of its updates.
        score_count: scores seen since the start, over all processes.
        score_mean: their mean.
        score_squares: the sum of their squared deviations from it.
        stopped: whether the updates left of the current rollout are skipped.
    """

    kl_coef: float
    entropy_coef: float = 0.0
    score_count: float = 0.0
    score_mean: float = 0.0
    score_squares: float = 0.0
    stopped: bool = False

    def add_scores(self, count: float, mean: float, squares: float) -> None:
        """Count further scores in, given their number, mean and sum of squared deviations.

        Chan et al. 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances".
        """
        total = self.score_count + count
        difference = mean - self.score_mean
        self.score_squares += squares + difference**2 * self.score_count * count / total
        self.score_mean += difference * count / total
        self.score_count = total

    @property
    def score_std(self) -> float:
        """Standard deviation (ddof = 1) of the scores seen; 1 where there are too few to tell, or all are equal."""
        variance = self.score_squares / max(self.score_count - 1, 1)
        return float(variance**0.5) or 1.0

    def save(self, path: Path) -> None:
        """Write the state as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Take over the state that `save` wrote.

        Raises:
            CheckpointError: where the file holds anything else.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} could not be read ({error}); resume from another checkpoint.") from error
        for name, value in _checked(content, path).items():
            setattr(self, name, value)


def _checked(content: Any, path: Path) -> dict[str, Any]:
    """Return the fields of a state, or raise `CheckpointError` where they are not exactly those, each of its type."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds {excerpt(content)} in place of the state of a run.")
    known = {field.name for field in fields(PPOState)}
    for what, names in (("lacks", known - set(content)), ("has the unknown fields", set(content) - known)):
        if names:
            raise CheckpointError(
                f"{path} {what} {', '.join(sorted(names))}; it was written by another version, or is no state of PPO."
            )
    for name, value in content.items():
        flag = name == "stopped"
        good = isinstance(value, bool) if flag else type(value) in (int, float) and math.isfinite(value)
        if not good:
            wanted = "true or false" if flag else "a finite number"
            raise CheckpointError(f"{path} has {name} {excerpt(value)}, which must be {wanted}.")
    return content
