"""What a supervised method minimises, as a function of a micro-batch; masks, denominators and processes are the loop's.

A method is an `Objective`, or a plain function of a `SupervisedBatch` that returns a loss for every token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import torch

from genrlhf.errors import ConfigError
from genrlhf.trainers.own_code import check_call
from genrlhf.trainers.sharding import refuse_sharded_sampling, refuse_sharded_start

if TYPE_CHECKING:
    from genrlhf.trainers.own_rows import OwnRow, RowTokens
    from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = [
    "Objective",
    "ObjectiveLike",
    "PlainFunction",
    "as_objective",
    "refuse_for_objective",
]


class Objective:
    """What is minimised of a micro-batch.

    One that keeps something from batch to batch has `state_dict()` and `load_state_dict(state)`, or `save(folder)` and
    `load(folder)`: called at every checkpoint and on resuming, in each process for its own.

    Attributes:
        unit: "token": a loss for every label, the mean of which over all labels of the optimizer step is minimised;
            "row": one for every row, likewise; "group": one for every row, each of which holds several `completions` of
            its prompt.
        columns: of the dataset, that it reads beside the tokens; of a group, lists with a value for each completion.
        needs_start: it reads `SupervisedBatch.start_logits`, so the model as it starts is kept.
        across_positions: it looks at a row as a whole, so rows are neither packed nor flattened.
        draws: of an objective with `encode`, how often a row is encoded; each epoch has another one of them, in turn.
    """

    unit: ClassVar[Literal["token", "row", "group"]] = "token"
    columns: ClassVar[tuple[str, ...]] = ()
    needs_start: ClassVar[bool] = False
    across_positions: ClassVar[bool] = False
    draws: int = 1

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every token, (N,), row, (B,), or group, (G,); float32, with a gradient."""
        raise NotImplementedError

    def check_columns(self, columns: list[str]) -> None:
        """Raise `DataError` where nothing could be learnt from training rows of these columns, before any work."""

    def check(self, rows: Any) -> None:
        """Raise `DataError` where nothing could be learnt from `rows`, the training data with its tokens."""

    def reads(self, columns: list[str]) -> list[str]:
        """Return the columns, of rows with these, that `encode` makes tokens of."""
        return ["prompt", "completion"]

    def encode(self, row: Mapping[str, Any], tokens: RowTokens) -> OwnRow:
        """Return the tokens that are trained on, and the values of `columns`, in place of what SFT makes of a row.

        Args:
            row: of the dataset, or of a transform.
            tokens: makes tokens of a prompt and a completion, and knows how many there may be.

        Raises:
            DataError: for a row that cannot be used; it begins with `tokens.where`.
        """
        raise NotImplementedError

    @property
    def encodes(self) -> bool:
        """Whether it has an `encode` of its own."""
        return type(self).encode is not Objective.encode

    @property
    def generates(self) -> bool:
        """Whether it has the model write while it trains."""
        return False

    @property
    def title(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def reads_rows(self) -> bool:
        """Whether a row has to stay a row of the batch."""
        return self.across_positions or self.unit != "token" or bool(self.columns) or self.encodes


ObjectiveLike: TypeAlias = Objective | Callable[["SupervisedBatch"], torch.Tensor]


class PlainFunction(Objective):
    """A function of a batch as an objective."""

    def __init__(self, function: Callable[[SupervisedBatch], torch.Tensor]) -> None:
        self.function = function

    @property
    def title(self) -> str:
        """The name of the function."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return what the function does."""
        return self.function(batch)


def as_objective(objective: ObjectiveLike | None) -> Objective | None:
    """Return an `Objective`, None for the cross-entropy of TRL's own loss.

    Raises:
        ConfigError: for what cannot be called, or a class in place of one of its objects.
    """
    if objective is None:
        return None
    if isinstance(objective, Objective):
        check_call(objective, ("batch",), "objective")
        return objective
    if isinstance(objective, type) or not callable(objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        raise ConfigError(f"objective is {name}; give an Objective (such as GEM(beta=0.7)), or a function of a batch.")
    check_call(objective, ("batch",), "objective")
    return PlainFunction(objective)


def refuse_for_objective(objective: Objective, args: Any, kwargs: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for settings that are a loss of their own, or that tear apart what the objective reads."""
    name = objective.title
    if objective.generates:
        refuse_sharded_sampling(args, f"objective={name}")
    if objective.needs_start:
        refuse_sharded_start(args, f"objective={name}")
    losses = {
        "label_smoothing_factor": getattr(args, "label_smoothing_factor", 0.0) > 0,
        "loss_type": getattr(args, "loss_type", "nll") not in (None, "nll", "chunked_nll"),
        "use_liger_kernel": bool(getattr(args, "use_liger_kernel", False)),
        "compute_loss_func": kwargs.get("compute_loss_func") is not None,
    }
    for setting, chosen in losses.items():
        if chosen:
            raise ConfigError(f"{setting} is a loss of its own, and so is objective={name}; leave one of them out.")
    for setting in ("packing", "padding_free"):
        if getattr(args, setting, False) and objective.reads_rows:
            raise ConfigError(
                f"{setting}=True makes one row of several, and objective={name} looks at a row as a whole; set it to "
                "False."
            )
