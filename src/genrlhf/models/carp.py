"""Two encoders, of passages and of critiques, into one latent space, and classes of critiques by learned context."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.encoders import Encoder, padded, pooled, text_tokens
from genrlhf.ops.contrastive import LOG_SCALE

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase

__all__ = ["MODEL_TYPE", "CARPModel", "CARPModelConfig", "ClassNames", "class_names"]

MODEL_TYPE = "genrlhf_carp"
SIDES = ("passage", "critique")


class CARPModelConfig(PretrainedConfig):
    """What a `CARPModel` is made of; as transformers keeps it.

    Attributes:
        passage: config of the encoder of passages.
        critique: config of the encoder of critiques.
        latent_size: of the vectors; None for those of the encoders, without projections.
        poolings: how each encoder's tokens become one vector.
        dropout: on what the projections read, in training.
        text_length: tokens that are read of a text.
        with_prompt: a passage is prompt and completion, not the completion alone.
        context_size: learned vectors before a class's name; 0 for none.
        classes: their names; None for none.
        target: the class whose log-probability is the reward.
        target_critique: the critique whose cosine is the reward, where there is no target.
    """

    model_type = MODEL_TYPE
    sub_configs = {"passage": AutoConfig, "critique": AutoConfig}  # noqa: RUF012

    def __init__(
        self,
        passage: Any = None,
        critique: Any = None,
        latent_size: int | None = None,
        poolings: Sequence[str] = ("mean", "mean"),
        dropout: float = 0.1,
        text_length: int | None = None,
        with_prompt: bool = False,
        context_size: int = 0,
        classes: Sequence[str] | None = None,
        target: str | None = None,
        target_critique: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.passage, self.critique = map(_config, (passage, critique))
        self.latent_size, self.poolings, self.dropout = latent_size, list(poolings), dropout
        self.text_length, self.with_prompt, self.context_size = text_length, with_prompt, context_size
        self.classes = None if classes is None else list(classes)
        self.target, self.target_critique = target, target_critique
        super().__init__(**kwargs)


# So that transformers knows the folder as what it is, and reads its tokenizers without a word.
AutoConfig.register(MODEL_TYPE, CARPModelConfig, exist_ok=True)


def _config(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    fields = dict(given)
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


class CARPModel(PreTrainedModel):
    """Encoders P of passages and C of critiques, u = P(x) / ‖P(x)‖ and v = C(y) / ‖C(y)‖, and a scale e^τ.

    CARP (Matiana et al. 2021, arXiv 2110.03111). A projection is linear without bias, so that the mean over tokens and
    their sum, which the authors take, have one direction. With `context_size` m the encoding of a class is
    C(BOS, m learned vectors, its name, EOS): CoOp CARP (Castricato et al. 2022, arXiv 2210.07792).

    Args:
        config: what it is made of.
    """

    config_class = CARPModelConfig
    base_model_prefix = "carp"
    supports_gradient_checkpointing = True

    def __init__(self, config: CARPModelConfig) -> None:
        super().__init__(config)
        widths = [getattr(config, side).hidden_size for side in SIDES]
        if config.latent_size is None and widths[0] != widths[1]:
            raise ConfigError(
                f"The embeddings of passages have {widths[0]} numbers and those of critiques {widths[1]}, and without "
                "projections they must have as many; set latent_size, or choose encoders of one size."
            )
        self.passage, self.critique = (
            AutoModel.from_config(getattr(config, side), trust_remote_code=False) for side in SIDES
        )
        for encoder in (self.passage, self.critique):
            for name, part in encoder.named_children():
                if "pool" in name:  # which nothing here reads
                    part.requires_grad_(False)
        size = config.latent_size
        self.passage_projection, self.critique_projection = (
            nn.Identity() if size is None else nn.Linear(width, size, bias=False) for width in widths
        )
        self.dropout = nn.Dropout(config.dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if config.context_size:
            width = self.critique.get_input_embeddings().embedding_dim
            self.context = nn.Parameter(0.02 * torch.randn(config.context_size, width))
        self.post_init()

    @classmethod
    def of(cls, passage: Encoder, critique: Encoder, **settings: Any) -> CARPModel:
        """Return the model of two encoders, whose weights it gets copies of.

        Args:
            passage: of passages.
            critique: of critiques.
            settings: of `CARPModelConfig`.

        Raises:
            ConfigError: where embeddings differ in size and there are no projections.
        """
        both = (passage, critique)
        parts: dict[str, Any] = {side: each.model.config for side, each in zip(SIDES, both, strict=True)}
        made = cls(CARPModelConfig(**parts, poolings=[each.pooling for each in both], **settings))
        for side, each in zip(SIDES, both, strict=True):
            getattr(made, side).load_state_dict(each.model.state_dict())
        return made

    def with_context(self, size: int, classes: Sequence[str]) -> CARPModel:
        """Return a copy with `size` fresh vectors of context for classes of these names, of which only they train."""
        config = CARPModelConfig.from_dict({**self.config.to_dict(), "context_size": size, "classes": list(classes)})
        made = type(self)(config)
        there = {name: value for name, value in self.state_dict().items() if name != "context"}
        made.load_state_dict(there, strict=False)
        with torch.no_grad():
            made.context.normal_(0, 0.02)
        made.requires_grad_(False)
        made.context.requires_grad_(True)
        return made

    def adapt(self, peft_config: PeftConfig) -> None:
        """Put adapters of this kind on both encoders, whose own weights are then not trained.

        Raises:
            ConfigError: for a kind that cannot be merged, as it is when the model is saved.
        """
        from peft import get_peft_model

        for side in SIDES:
            # Of no task: PEFT would wrap a model with a head. It writes into what it is given.
            config = copy.deepcopy(peft_config)
            config.task_type = None
            if config.is_prompt_learning:
                raise ConfigError(f"An adapter of the kind {config.peft_type.value} cannot be merged; use LoRA.")
            setattr(self, side, get_peft_model(getattr(self, side), config))

    def merged(self) -> CARPModel:
        """Return a copy whose adapters are merged."""
        made = copy.deepcopy(self)
        for side in SIDES:
            if hasattr(encoder := getattr(made, side), "merge_and_unload"):
                setattr(made, side, encoder.merge_and_unload())
        return made

    def encode(self, side: str, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return vectors of length 1, (B, D) float32, of texts on a side, "passage" or "critique".

        Args:
            side: which encoder reads them.
            input_ids: (B, T) int64, padded on the right.
            mask: (B, T) bool.
        """
        return self._units(side, mask, input_ids=input_ids)

    def encode_classes(self, names: ClassNames, *, context: bool = True) -> torch.Tensor:
        """Return vectors of length 1 of classes, (K, D) float32.

        Args:
            names: their tokens.
            context: with the learned vectors behind BOS, where there are some.
        """
        ids, mask = names.input_ids.to(self.device), names.mask.to(self.device)
        if not (context and self.config.context_size):
            return self.encode("critique", ids, mask)
        embedded = self.critique.get_input_embeddings()(ids)
        learned = self.context.to(embedded).expand(len(ids), -1, -1)
        begin = names.begin
        embedded = torch.cat([embedded[:, :begin], learned, embedded[:, begin:]], dim=1)
        more = torch.ones(learned.shape[:2], dtype=torch.bool, device=mask.device)
        mask = torch.cat([mask[:, :begin], more, mask[:, begin:]], dim=1)
        return self._units("critique", mask, inputs_embeds=embedded)

    def _units(self, side: str, mask: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        states = getattr(self, side)(**inputs, attention_mask=mask.long()).last_hidden_state
        vectors = pooled(states, mask, self.config.poolings[SIDES.index(side)])
        with torch.autocast(vectors.device.type, enabled=False):
            projected = getattr(self, f"{side}_projection")(self.dropout(vectors.float()))
        return normalize(projected, dim=-1)

    def forward(self, **inputs: Any) -> tuple[torch.Tensor, ...]:
        """Return u, v, (B, D) float32 each, and τ, of pairs; or w, (K, D) float32, and τ, of classes.

        Args:
            inputs: `passage_ids`, `passage_mask`, `critique_ids` and `critique_mask`, (B, T) each; or `class_ids`,
                `class_mask` and `begin` as of `ClassNames`.
        """
        if "class_ids" in inputs:
            return self.encode_classes(
                ClassNames(inputs["class_ids"], inputs["class_mask"], inputs["begin"])
            ), self.log_scale
        if self.training:
            with torch.no_grad():  # or a step beyond the bound would be the last
                self.log_scale.clamp_(-LOG_SCALE, LOG_SCALE)
        units = [self.encode(side, inputs[f"{side}_ids"], inputs[f"{side}_mask"]) for side in SIDES]
        # A parameter itself would reach DistributedDataParallel's hooks twice.
        return units[0], units[1], self.log_scale.clone()


class ClassNames:
    """Names of classes as tokens.

    Attributes:
        input_ids: (K, L) int64, padded on the right.
        mask: (K, L) bool.
        begin: special tokens that all begin with, such as BOS, behind which the context lies.
    """

    def __init__(self, input_ids: torch.Tensor, mask: torch.Tensor, begin: int) -> None:
        self.input_ids, self.mask, self.begin = input_ids, mask, begin


def class_names(tokenizer: PreTrainedTokenizerBase, names: Sequence[str], *, max_length: int | None) -> ClassNames:
    """Return the tokens of names of classes.

    Raises:
        ModelError: where two are the same tokens, or there are fewer than two.
    """
    tokens = text_tokens(tokenizer, list(names), max_length=max_length)
    known: dict[tuple[int, ...], str] = {}
    for name, ids in zip(names, map(tuple, tokens), strict=True):
        if ids in known:
            raise ModelError(
                f"The classes {known[ids]!r} and {name!r} are the same tokens to the encoder of critiques, which could "
                "not tell them apart; rename one."
            )
        known[ids] = name
    if len(known) < 2:
        raise ModelError(f"There are {len(known)} classes; a class can be told from another one only.")
    special = set(tokenizer.all_special_ids)
    begin = 0
    while all(len(ids) > begin and ids[begin] == tokens[0][begin] for ids in tokens) and tokens[0][begin] in special:
        begin += 1
    return ClassNames(*padded(tokens), begin)
