"""The Trainer that a callback is called by, and what of its model and tokenizer text can be sampled with."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.integrations import is_deepspeed_zero3_enabled

from genrlhf.data.asking import Asking
from genrlhf.errors import ConfigError, ModelError, excerpt
from genrlhf.models.structure import inner_model
from genrlhf.sampling.comparable import refuse_reading_ahead

__all__ = ["asking_of_trainer", "calling_trainer", "check_model", "language_model", "root_model", "sampling_tokenizer"]


def calling_trainer() -> Trainer:
    """Return the Trainer within whose call this is.

    A Trainer tells its callbacks of its settings and its model, but not of itself, and only it can log.
    """
    frame = inspect.currentframe()
    while frame is not None:
        # Asking for the locals of every frame would copy them.
        owner = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames + frame.f_code.co_cellvars else None
        if isinstance(owner, Trainer):
            return owner
        frame = frame.f_back
    raise ConfigError(
        "DiversityCallback was called by no Trainer of transformers; give it to one: callbacks=[DiversityCallback(…)]."
    )


def root_model(trainer: Trainer) -> nn.Module:
    """Return the model that a Trainer trains, out of the wrappers that processes and compilers put around it."""
    found: nn.Module = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    return found


def language_model(trainer: Trainer) -> Any:
    """Return what writes text of what a Trainer trains, with its adapter: of policy and value head the policy."""
    root = root_model(trainer)
    policy = getattr(root, "policy", None)
    return policy if isinstance(policy, nn.Module) else root


def check_model(trainer: Trainer) -> None:
    """Raise where text cannot be sampled from the model that a Trainer trains.

    Raises:
        ModelError: where it does not continue text, see also `refuse_reading_ahead`.
        ConfigError: where it is spread over processes in a way that leaves nothing to sample from.
    """
    model = language_model(trainer)
    kind = type(inner_model(model)).__name__
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"DiversityCallback samples what continues a prompt, and the {kind} is an encoder-decoder; use it with "
            "decoder-only language models."
        )
    writes = getattr(inner_model(model), "can_generate", None)
    if config is None or writes is None or not writes():
        raise ModelError(
            f"DiversityCallback samples text, and the {kind} that {type(trainer).__name__} trains writes none; use it "
            "where a causal language model is trained (SFT, DPO, GRPO, RLOO, PPO, …)."
        )
    if is_deepspeed_zero3_enabled():
        raise ConfigError(
            "DiversityCallback needs whole parameters on every process: use ZeRO-2, FSDP2 or DDP, not ZeRO-3."
        )
    if (getattr(inner_model(model), "tp_size", None) or 1) > 1:
        raise ConfigError(
            "DiversityCallback gives every process prompts of its own, and those of tensor parallelism share theirs; "
            "use DDP or FSDP2, or leave the callback out."
        )
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    refuse_reading_ahead(model, device=None if sharded else model.device)


def asking_of_trainer(trainer: Trainer) -> Asking | None:
    """Return how a Trainer's method asks the model that it makes; None where by prompts alone."""
    asking = getattr(trainer, "asking", None)
    return asking if isinstance(asking, Asking) else None


def sampling_tokenizer(trainer: Trainer, given: Any) -> PreTrainedTokenizerBase:
    """Return the tokenizer to sample with: the one that was given, or that of the Trainer, which stays as it is.

    Args:
        trainer: whose `processing_class` may be a processor that has a tokenizer.
        given: a tokenizer or processor; None for the Trainer's.

    Raises:
        ConfigError: where there is none.
    """
    source = trainer.processing_class if given is None else given
    found = source if isinstance(source, PreTrainedTokenizerBase) else getattr(source, "tokenizer", None)
    if not isinstance(found, PreTrainedTokenizerBase):
        what = "no processing_class" if source is None else f"{excerpt(type(source).__name__)} for a processing_class"
        raise ConfigError(
            f"DiversityCallback needs a tokenizer, and {type(trainer).__name__} has {what}; give the Trainer "
            "processing_class=tokenizer, or DiversityCallback tokenizer=tokenizer."
        )
    if found.pad_token_id is None:
        if found.eos_token_id is None:
            raise ConfigError("The tokenizer has neither a pad token nor EOS; set tokenizer.pad_token.")
        # What pads is masked, so that any token will do.
        found = copy.deepcopy(found)
        found.pad_token = found.eos_token
    return found
