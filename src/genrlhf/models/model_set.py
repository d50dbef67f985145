"""The models of a run, made ready in fixed steps: load → adapter → freeze → dropout → precision → share.

Each step may be read alone. What the reference is, and what two models share, is found out at the end, from the models
as they are then, whatever the steps before have done to them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import set_seed

from genrlhf.errors import ConfigError
from genrlhf.models.adapter_base import AdapterBase
from genrlhf.models.adapters import is_peft_model
from genrlhf.models.attention import leave_out_cudnn_attention
from genrlhf.models.freezing import disable_dropout, freeze_layers
from genrlhf.models.loading import load_tokenizer
from genrlhf.models.precision import hold_in_training_precision
from genrlhf.models.quantisation import is_quantised
from genrlhf.models.reference import Snapshot
from genrlhf.models.scoring import reads_at_eos
from genrlhf.models.sharing import share_trunk
from genrlhf.models.tokens import ensure_pad_token, set_eos_token
from genrlhf.models.trunk import trunk_depth

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Loaded", "ModelSet", "changes_base", "load_to_train", "make_trainable", "refuse_adapter_with_frozen_layers"]


class Loaded(NamedTuple):
    """A model that is going to be trained.

    Attributes:
        model: as it was loaded, or given.
        tokenizer: with a pad token that is not EOS.
        name: where the model came from.
        adapter_base: of the adapter that is trained, None where there is none.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    name: str
    adapter_base: AdapterBase | None


def load_to_train(
    source: str | PreTrainedModel | PeftModel,
    load: Callable[..., Any],
    args: Any,
    *,
    processing_class: PreTrainedTokenizerBase | None,
    peft_config: PeftConfig | None,
) -> Loaded:
    """Load the model that a trainer trains, and its tokenizer, after `args.seed`.

    Args:
        source: a name, a folder or a module.
        load: `load_causal_lm` or `load_for_reward_training`.
        args: the trainer's settings; an `eos_token` among them becomes that of tokenizer and model.
        processing_class: the tokenizer; None for the one saved with the model.
        peft_config: of the adapter that is to be trained, None for none.

    Raises:
        ModelError: see `load`.
        ConfigError: where weights that are to be trained cannot be.
    """
    refuse_adapter_with_frozen_layers(args.freeze_layers, peft_config, source)
    leave_out_cudnn_attention()
    set_seed(args.seed)
    trust = args.trust_remote_code
    model = load(source, model_init_kwargs=args.model_init_kwargs, trust_remote_code=trust)
    if is_quantised(model) and peft_config is None and not hasattr(model, "peft_config"):
        raise ConfigError(
            "Quantised weights cannot be trained; pass peft_config to train an adapter on them, or load the model "
            "without quantization_config."
        )
    origin = source if isinstance(source, str) else model
    needs_eos = model.get_output_embeddings() is not None or reads_at_eos(model)
    revision = (args.model_init_kwargs or {}).get("revision")
    tokenizer = load_tokenizer(
        origin, processing_class, trust_remote_code=trust, needs_eos=needs_eos, revision=revision
    )
    if getattr(args, "eos_token", None) is not None:
        set_eos_token(tokenizer, model, args.eos_token)
    ensure_pad_token(tokenizer, model, wanted=getattr(args, "pad_token", None))
    base: AdapterBase | None = None
    if peft_config is not None or is_peft_model(model):
        base = AdapterBase(model, source, peft_config=peft_config, revision=revision)
    return Loaded(model, tokenizer, str(getattr(model.config, "_name_or_path", "")), base)


def refuse_adapter_with_frozen_layers(freeze_layers: float, peft_config: PeftConfig | None, model: Any) -> None:
    """Raise `ConfigError` where both are asked for, or `model` brings an adapter along."""
    if freeze_layers and (peft_config is not None or hasattr(model, "peft_config")):
        raise ConfigError(
            f"freeze_layers={freeze_layers} and an adapter (peft_config) exclude each other, since an adapter freezes "
            "the whole base; drop one (layers_to_transform in a LoraConfig puts the adapter on the last layers only)."
        )


def make_trainable(model: Any, args: Any) -> None:
    """Freeze, switch dropout off and hold in the precision of training what a trainer trains, in place.

    Args:
        model: with the adapter on it, where there is one.
        args: the trainer's settings, of which `freeze_layers` and `disable_dropout` are used.
    """
    freeze_layers(model, args.freeze_layers)
    if args.disable_dropout:
        disable_dropout(model)
    hold_in_training_precision(model)


@dataclass(frozen=True)
class ModelSet:
    """What is trained and what it is compared with.

    Attributes:
        policy: trained, in its adapter where there is one.
        value: trained beside it; None for none.
        reference: the policy as it started, or another model; never trained.
        depth: layers of the policy's trunk, 0 for none.
        on_trunk: for value, reference and each of the others whether it shares that trunk.
    """

    policy: Any
    value: Any | None
    reference: Any
    depth: int
    on_trunk: dict[int, bool]

    @classmethod
    def build(
        cls,
        policy: Any,
        args: Any,
        *,
        peft_config: PeftConfig | None = None,
        value: Any | None = None,
        reference: Any | None = None,
        others: Sequence[Any] = (),
    ) -> ModelSet:
        """Take the steps from adapter to share.

        Args:
            policy: as it was loaded.
            args: see `make_trainable`.
            peft_config: of the adapter to train instead of the policy.
            value: a model to train beside it.
            reference: what the policy is compared with; None for the policy as it is now.
            others: models that are never trained, such as reward models.
        """
        start = Snapshot(policy if reference is None else reference, apart=changes_base(peft_config))
        trained = policy if peft_config is None else _with_adapter(policy, peft_config)
        for model in (trained, value):
            if model is not None:
                make_trainable(model, args)
        fixed = start.settle(trained)
        depth = trunk_depth(trained)
        sharers = [model for model in (value, fixed, *others) if model is not None]
        return cls(trained, value, fixed, depth, {id(m): share_trunk(m, trained, depth) for m in sharers})

    def shares(self, model: Any) -> bool:
        """Say whether a model has the policy's trunk."""
        return self.on_trunk.get(id(model), False)


def _with_adapter(model: Any, peft_config: PeftConfig) -> Any:
    from peft import get_peft_model

    # PEFT writes into what it is given, and the next run would begin with that.
    return get_peft_model(model, copy.deepcopy(peft_config))


def changes_base(peft_config: PeftConfig | None) -> bool:
    """Say whether an adapter may start by taking its part out of the base (PiSSA, OLoRA, CorDA, LoftQ, …)."""
    start = getattr(peft_config, "init_lora_weights", True)
    return isinstance(start, str) and start != "gaussian"
