"""What PPO carries from one rollout to the next, beside the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["PPOState"]


@dataclass
class PPOState:
    """Figures that a checkpoint keeps.

    Attributes:
        kl_coef: the KL coefficient β of the next rollout.
        score_count: scores seen since the start, over all processes.
        score_mean: their mean.
        score_squares: the sum of their squared deviations from it.
        stopped: whether the updates left of the current rollout are skipped.
    """

    kl_coef: float
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
        """Take over the state that `save` wrote."""
        for name, value in json.loads(path.read_text(encoding="utf-8")).items():
            setattr(self, name, value)
