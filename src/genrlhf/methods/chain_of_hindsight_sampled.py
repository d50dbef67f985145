"""Chain of Hindsight on the model's own samples: of each prompt the best and the worst, by a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.trainers.groups import Group
from genrlhf.trainers.ranges import AT_LEAST_ONE, BELOW_ONE, SHARE, ZERO_OR_MORE, check_ranges
from genrlhf.trainers.tuning_rows import TuningRows

__all__ = ["METHOD", "Hindsight", "SampledHindsight"]


@dataclass(frozen=True)
class Hindsight:
    """Settings of chains: feedback stands behind the prompt, as it is written here.

    Raises:
        ConfigError: for a setting out of its range, or feedback that says nothing.
    """

    good: list[str] = field(
        default_factory=lambda: ["\nA good answer:\n", "\nA helpful answer:\n"],
        metadata={"help": "Feedback of good outputs, one of which is drawn; samples are asked for by the first."},
    )
    bad: list[str] = field(
        default_factory=lambda: ["\nA bad answer:\n", "\nAn unhelpful answer:\n"],
        metadata={"help": "Feedback of bad outputs."},
    )
    chain_share: Annotated[float, SHARE] = field(
        default=0.5, metadata={"help": "Share of pairs that are chains of two outputs."}
    )
    hidden: Annotated[float, BELOW_ONE] = field(
        default=0.0, metadata={"help": "ρ: share of past tokens hidden in training (paper: 0.05)."}
    )
    pretrain_weight: Annotated[float, ZERO_OR_MORE] = field(
        default=0.0, metadata={"help": "λ of the mean over rows with a `text` (paper: 1.5); 0 where there are none."}
    )
    draws: Annotated[int, AT_LEAST_ONE] = field(
        default=4, metadata={"help": "Chains drawn of a row, one each epoch, then again."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, texts in (("good", self.good), ("bad", self.bad)):
            if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
                raise ConfigError(
                    f"{name} is {texts!r}; give a list of texts that say so, such as ['\\nA {name} answer:\\n']."
                )
        if both := set(self.good) & set(self.bad):
            raise ConfigError(f"{min(both)!r} is feedback of good and of bad outputs; it must tell them apart.")

    @property
    def asking(self) -> Asking:
        """How the model is asked."""
        return Asking(after=self.good[0])


@dataclass(frozen=True)
class SampledHindsight(Hindsight):
    """Chains of the best and the worst of each prompt's samples, the first of equal ones, by `ChainOfHindsight`.

    Groups whose rewards are all equal give none, nor those whose best or worst was cut off: it would be taught to stop.
    Samples are drawn by prompts alone, of the first iteration's model and of those that have learnt what feedback is.
    """

    tune = "supervised"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrain_weight > 0:
            raise ConfigError(
                f"pretrain_weight is {self.pretrain_weight}, and samples have no texts to pretrain on; set it to 0."
            )

    @property
    def objective(self) -> Any:
        """What the rows are tuned by."""
        from genrlhf.methods.chain_of_hindsight import ChainOfHindsight  # which has its settings from here

        return ChainOfHindsight(**asdict(self))

    def __call__(self, groups: Sequence[Group]) -> TuningRows:
        """Return a pair of each group, as text."""
        equal, cut_off, same = (
            "all rewards are equal",
            "the best or the worst was cut off",
            "they are one text, or empty",
        )
        rows, left_out = [], dict.fromkeys((equal, cut_off, same), 0)
        for group in groups:
            places = [pick(range(len(group.scores)), key=group.scores.__getitem__) for pick in (max, min)]
            best, worst = (group.completions[place] for place in places)
            if group.scores[places[0]] == group.scores[places[1]]:
                left_out[equal] += 1
            elif not (best.ended and worst.ended):
                left_out[cut_off] += 1
            elif not best.text or not worst.text or best.text == worst.text:
                left_out[same] += 1
            else:
                rows.append({**group.pair(*places), "chosen": best.text, "rejected": worst.text})
        return TuningRows(rows, left_out)


METHOD = Method(
    name="chain_of_hindsight_sampled",
    label="Chain of Hindsight, own samples",
    paper="Liu et al. 2023, arXiv 2302.02676",
    loop="sample_and_tune",
    needs=("prompts", "reward"),
    recipe={"adam_beta2": 0.95},
    settings="genrlhf.methods.chain_of_hindsight_sampled:SampledHindsight",
    argument="transform",
)
