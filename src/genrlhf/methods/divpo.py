"""DivPO: the rarest good completion of a prompt is preferred to its commonest bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.methods.method import Method
from genrlhf.ops import class_rarity, good_and_bad, mean_distance, rarest_pair
from genrlhf.places import given_or_placed
from genrlhf.trainers.groups import Group
from genrlhf.trainers.transforms import Transform
from genrlhf.trainers.tuning_rows import TuningRows

__all__ = ["METHOD", "DivPO"]

_NEEDS = {"frequency": "classes", "distance": "encode", "probability": None, "auto": None}


@dataclass(frozen=True)
class DivPO(Transform):
    """Prefer argmax d over good completions to argmin d over bad ones, with d how rare a completion is in its group.

    Lanchantin et al. 2025, "Diverse Preference Optimization" (arXiv 2501.18101). Rewards from `good` on are good and
    below `bad` bad: 1 where all of the round's are 0 or 1, else the top and bottom `share` of each group. Ties are
    broken by the round's seed. A group of which all are good, or all bad, gives no pair.
    """

    diversity: str = field(
        default="auto",
        metadata={
            "help": "d: frequency (1 / size of the class), probability (minus its log), distance (mean cosine distance "
            "to the others); auto: frequency where there are classes, else probability."
        },
    )
    classes: Callable[..., Any] | str | None = field(
        default=None,
        metadata={"help": "Sets of texts to classes of each, as ExactClasses() does; or package.module:name."},
    )
    encode: Callable[..., Any] | str | None = field(
        default=None, metadata={"help": "Texts to vectors, for the distance: a function, or package.module:name."}
    )
    normalise: str = field(
        default="mean",
        metadata={"help": "Log-probability: the mean over tokens, or their sum, by which long completions are rare."},
    )
    share: float = field(default=0.25, metadata={"help": "Share of a group that is good, and bad; at most 0.5."})
    good: float | None = field(default=None, metadata={"help": "Rewards from here on are good, in place of a share."})
    bad: float | None = field(default=None, metadata={"help": "Rewards below this are bad; by default what is good."})
    tune = "pairwise"

    def __post_init__(self) -> None:
        for name in ("classes", "encode"):
            object.__setattr__(self, name, given_or_placed(getattr(self, name), name))
        for name, known in (("diversity", tuple(_NEEDS)), ("normalise", ("mean", "sum"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")
        if self.diversity == "auto":
            object.__setattr__(self, "diversity", "probability" if self.classes is None else "frequency")
        if (wanted := _NEEDS[self.diversity]) is not None and getattr(self, wanted) is None:
            raise ConfigError(f"diversity={self.diversity!r} needs {wanted}, a function of texts; give one.")
        if not 0 < self.share <= 0.5:
            raise ConfigError(f"share is {self.share}; it must be above 0, and at most 0.5, or good and bad overlap.")
        if self.bad is not None and (self.good is None or self.bad > self.good):
            raise ConfigError(f"bad is {self.bad} and good {self.good}, which overlap; give good, at least bad.")

    def check_settings(self, args: Any) -> None:
        """Raise `ConfigError` where there is nothing to choose among, or to choose by."""
        if args.n < 2:
            raise ConfigError(f"DivPO chooses among the completions of a prompt, and n is {args.n}; give at least 2.")
        if self.diversity == "probability" and not args.keep_logprobs:
            raise ConfigError("diversity='probability' reads log-probabilities; set keep_logprobs=True.")

    def __call__(self, groups: list[Group]) -> TuningRows:
        """Return a pair for every group that has good and bad completions."""
        binary = self.good is None and all(reward in (0, 1) for group in groups for reward in group.scores)
        rows: list[dict[str, Any]] = []
        for group, rarity in zip(groups, self._rarity(groups), strict=True):
            if len(rarity) != len(group.scores) or not rarity.isfinite().all():
                what = f"the {len(group.scores)} completions of row {group.row}, the prompt {excerpt(group.prompt)},"
                raise DataError(
                    f"By {self.diversity} d of {what} is {rarity.tolist()}; it must be finite, one for each."
                )
            rewards = torch.tensor(group.scores, dtype=torch.float64)
            good, bad = good_and_bad(rewards, share=self.share, good=1.0 if binary else self.good, bad=self.bad)
            order = np.random.default_rng([group.seed, group.row]).permutation(len(rarity))
            pair = rarest_pair(rarity, good, bad, torch.from_numpy(order))
            rows += [] if pair is None else [group.pair(*pair)]
        told = [row for row in rows if row["chosen"] != row["rejected"]]
        left_out = {"chosen and rejected are alike": len(rows) - len(told)}
        return TuningRows(told, {"no good or no bad completion": len(groups) - len(rows), **left_out})

    def _rarity(self, groups: list[Group]) -> list[torch.Tensor]:
        """Return d of the completions of each group."""
        texts = [[completion.text for completion in group.completions] for group in groups]
        if self.diversity == "frequency":
            return [class_rarity(torch.as_tensor(each)) for each in self.classes(texts)]  # type: ignore[operator,misc]
        if self.diversity == "distance":
            vectors = self.encode([text for each in texts for text in each])  # type: ignore[operator,misc]
            parts = torch.as_tensor(np.asarray(vectors)).split([len(each) for each in texts])
            return [mean_distance(part) for part in parts]
        weigh = np.mean if self.normalise == "mean" else np.sum
        return [-torch.tensor([float(weigh(each)) for each in group.logprobs or []]) for group in groups]


METHOD = Method(
    name="divpo",
    label="DivPO",
    paper="Lanchantin et al. 2025, arXiv 2501.18101",
    loop="sample_and_tune",
    needs=("prompts", "reward"),
    recipe={"n": 16, "keep_logprobs": True, "learning_rate": 1e-6},
    settings="genrlhf.methods.divpo:DivPO",
    argument="transform",
)
