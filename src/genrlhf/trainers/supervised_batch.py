"""A micro-batch as an objective sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from genrlhf.errors import ConfigError, DataError, ShapeError, excerpt
from genrlhf.ops import chosen_logprobs, forgetful_mask, position_ids, token_entropy
from genrlhf.trainers.columns import GROUP, IGNORED
from genrlhf.trainers.lm_head import has_fused_head, label_logits
from genrlhf.trainers.own_code import named_errors

if TYPE_CHECKING:
    from genrlhf.trainers.objective import Objective

__all__ = ["SupervisedBatch"]


class SupervisedBatch:
    """A micro-batch as an objective sees it: only the tokens that are learnt, those of all rows one after the other.

    Attributes:
        labels: (N,) int64, the tokens that are learnt.
        rows: (N,) int64, the row of each, 0 … B − 1; rows with nothing to learn are left out.
        size: B.
        groups: (B,) int64, the group of each row, 0 … G − 1; where the objective's unit is "group".
        n_groups: G; 0 without groups.
        columns: for each of the objective's columns its B values.
        model: the model that is trained, unwrapped; for whatever else an objective does with it.
        input_ids: the token ids of the micro-batch as the model gets them, (rows, L) int64.
        attention_mask: (rows, L) bool, False at padding.
        places: of each label in `input_ids`, its row and its place there, (N,) int64 each.
        training: False in evaluation.
        step: optimizer steps before this one; with `seed` for what all parts of a step must draw alike.
        seed: of the run.
        tokenizer: of the model.

    Args:
        forward: the model as the Trainer wraps it.
        model: the same, unwrapped.
        inputs: of its forward pass, `labels` among them.
        columns: of every row.
        start: the model as it started; None where the objective does not need it.
        step: see above.
        seed: see above.
        tokenizer: see above.
    """

    def __init__(
        self,
        forward: nn.Module,
        model: Any,
        inputs: Mapping[str, Any],
        columns: Mapping[str, list[Any]] | None = None,
        start: Any | None = None,
        step: int = 0,
        seed: int = 0,
        tokenizer: Any = None,
    ) -> None:
        self.model, self._forward, self._start = model, forward, start
        self.step, self.seed, self.tokenizer = step, seed, tokenizer
        self._inputs = {name: value for name, value in inputs.items() if name != "labels"}
        self._labels = inputs["labels"]
        self.input_ids: torch.Tensor = inputs["input_ids"]
        attended = inputs.get("attention_mask")
        self.attention_mask = torch.ones_like(self.input_ids) if attended is None else attended
        self.attention_mask = self.attention_mask.bool()
        self.training = bool(model.training)
        shifted = self._labels[:, 1:]
        self._mask = shifted != IGNORED
        self.labels = shifted[self._mask]
        lines, before = self._mask.nonzero().unbind(1)
        self.places = (lines, before + 1)
        places = _row_numbers(self._labels, inputs.get("position_ids"))[:, 1:][self._mask]
        kept, self.rows = places.unique_consecutive(return_inverse=True)
        self.size = len(kept)
        chosen = kept.tolist() if columns else []
        self.columns = {name: [values[row] for row in chosen] for name, values in (columns or {}).items()}
        groups = self.columns.pop(GROUP, [])
        _, self.groups = torch.tensor(groups, dtype=torch.int64, device=self.labels.device).unique_consecutive(
            return_inverse=True
        )
        self.n_groups = len(set(groups))
        self.logged: dict[str, torch.Tensor] = {}
        self.outputs: Any = None
        self._logits: torch.Tensor | None = None

    def logits(self) -> torch.Tensor:
        """Return the logits that predict the labels, (N, V) float32, with a gradient; computed once."""
        if self._logits is None:
            self.outputs, self._logits = label_logits(self._forward, self.model, self._inputs, self._mask)
        return self._logits.float()

    def logprobs(self) -> torch.Tensor:
        """Return the log-probabilities of the labels, (N,) float32, with a gradient.

        Where nothing has asked for logits, through TRL's fused LM head, which never holds them.
        """
        if self._logits is None and self.outputs is None and has_fused_head(self.model):
            self.outputs = self._forward(**self._inputs, labels=self._labels, fused_lm_head=True)
        if self._logits is None and self.outputs is not None:
            fused: torch.Tensor = self.outputs.log_probs[self._mask].float()
            return fused
        return chosen_logprobs(self.logits().unsqueeze(0), self.labels.unsqueeze(0)).squeeze(0)

    def another_logits(self) -> torch.Tensor:
        """Return the logits of one more forward pass, (N, V) float32, with a gradient; dropout is drawn anew.

        The settings' `disable_dropout` is True by default, and every pass then the same.
        """
        self.logits()
        # Through the bare model: that of several processes counts its own passes, and has had this step's.
        return label_logits(self.model, self.model, self._inputs, self._mask)[1].float()

    def logits_of(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the logits of other texts, (M, V) float32, with a gradient.

        Args:
            ids: (rows, L) int64, without padding.
            mask: (rows, L − 1) bool, True where the next token's are wanted, M in all.
        """
        self.logits()  # as in `another_logits`
        return label_logits(self.model, self.model, {**self._beside, **_unpadded(ids)}, mask)[1].float()

    @torch.no_grad()
    def start_logits(self, texts: Sequence[Sequence[int]] | None = None) -> torch.Tensor:
        """Return the logits of the model as it started, (N, V) float32; the objective's `needs_start` must be True.

        Args:
            texts: for each of the B rows the tokens that this model reads in its place, which end in the row's labels;
                None for the same.

        Raises:
            ConfigError: where it is not.
        """
        if self._start is None:
            raise ConfigError("The objective reads start_logits; set needs_start = True in its class.")
        inputs, mask = self._inputs, self._mask
        if texts is not None:
            ids, attended, mask = _ending_in(texts, self.rows.bincount().tolist(), self.labels.device)
            inputs = {**self._beside, "input_ids": ids, "attention_mask": attended}
        return label_logits(self._start, self._start, inputs, mask)[1].float()

    def hide_keys(self, share: float) -> None:
        """Hide each past token from those behind it with probability `share`, before anything is computed.

        See `genrlhf.ops.forgetful_mask`.

        Raises:
            ConfigError: for an attention that takes no mask of pairs of places.
        """
        kind = getattr(self.model.config, "_attn_implementation", "eager")
        if kind not in ("eager", "sdpa"):
            raise ConfigError(f"Past tokens cannot be hidden under attn_implementation={kind!r}; set sdpa or eager.")
        mask = forgetful_mask(self.attention_mask, share)
        lowest = torch.finfo(self.model.dtype).min
        bias = torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device).masked_fill(~mask, lowest)
        self._inputs["attention_mask"] = bias.unsqueeze(1)
        self._inputs["position_ids"] = position_ids(self.attention_mask)

    @property
    def _beside(self) -> dict[str, Any]:
        """What the forward pass is told beside tensors."""
        return {name: value for name, value in self._inputs.items() if not isinstance(value, torch.Tensor)}

    def sum_by_row(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value of every token, (N,), over each row, (B,)."""
        return values.new_zeros(self.size).index_add(0, self.rows, values)

    def mean_by_row(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of a value of every token, (N,), over each row, (B,)."""
        return self.sum_by_row(values) / self.sum_by_row(torch.ones_like(values))

    def log(self, name: str, values: torch.Tensor) -> None:
        """Log the mean of values, (N,) or (B,), over all that are logged under this name."""
        self.logged[name] = values.detach()

    @torch.no_grad()
    def figures(self) -> dict[str, torch.Tensor]:
        """Return what is logged of any supervised training, (N,) each: cross-entropy, entropy, token accuracy."""
        if self._logits is None and self.outputs is not None:
            fused = {"cross_entropy": -self.outputs.log_probs, "entropy": self.outputs.entropy}
            fused["mean_token_accuracy"] = self.outputs.is_top1.float()
            return {name: values[self._mask].float() for name, values in fused.items()}
        logits = self.logits()
        hit = logits.argmax(-1) == self.labels
        return {
            "cross_entropy": -self.logprobs(),
            "entropy": token_entropy(logits.unsqueeze(0)).squeeze(0),
            "mean_token_accuracy": hit.float(),
        }

    def checked(self, objective: Objective) -> torch.Tensor:
        """Return what an objective makes of this batch.

        Raises:
            ShapeError: for another shape than the objective's unit asks for.
            DataError: for a loss that is not finite, naming the labels of the row.
            GenRLHFError: naming the line, for whatever else the objective raises.
        """
        if not len(self.labels):
            # In the graph all the same: with several processes all of them go backwards.
            return self.logits().sum(-1)
        name = objective.title
        with named_errors(f"The objective {name}"):
            loss = objective(self)
        want = {"token": len(self.labels), "row": self.size, "group": self.n_groups}[objective.unit]
        if not isinstance(loss, torch.Tensor) or loss.shape != (want,):
            shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise ShapeError(
                f"{name} returned {shape}; want ({want},), a loss for every {objective.unit}"
                + (" (set unit = 'row' for one of every row)." if objective.unit == "token" else ".")
            )
        if self.training and not loss.requires_grad:
            raise ConfigError(f"{name} returned a loss without a gradient; do not detach it, nor put it under no_grad.")
        bad = ~loss.detach().isfinite()
        if bad.any():
            first = int(bad.nonzero()[0])
            rows = self.groups[self.rows] if objective.unit == "group" else self.rows
            row = int(self.rows[first]) if objective.unit == "token" else first
            ids = self.labels[rows == row].tolist()
            value = float(loss.detach()[first])
            text = "" if self.tokenizer is None else f", {excerpt(self.tokenizer.decode(ids), 100)}"
            raise DataError(
                f"{name} returned {value} for {objective.unit} {first} of a micro-batch, in the row "
                f"whose labels are {ids[:20]}{' …' if len(ids) > 20 else ''}{text}; a loss must be finite: look for a "
                "division by 0, or the logarithm of 0."
            )
        return loss


def _unpadded(ids: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _ending_in(
    texts: Sequence[Sequence[int]], counts: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask, right-padded, and where the last `counts` tokens of each are predicted."""
    longest = max(map(len, texts))
    ids = torch.zeros((len(texts), longest), dtype=torch.int64)
    attended = torch.zeros_like(ids)
    mask = torch.zeros((len(texts), longest - 1), dtype=torch.bool)
    for row, (text, count) in enumerate(zip(texts, counts, strict=True)):
        ids[row, : len(text)] = torch.tensor(text)
        attended[row, : len(text)] = 1
        mask[row, len(text) - 1 - count : len(text) - 1] = True
    return ids.to(device), attended.to(device), mask.to(device)


def _row_numbers(labels: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    """Return the row of every place, (rows, L) int64; where rows lie one behind the other, they begin at position 0."""
    if position_ids is None:
        return torch.arange(len(labels), device=labels.device).unsqueeze(1).expand_as(labels)
    return (position_ids == 0).flatten().cumsum(0).view_as(labels) - 1
