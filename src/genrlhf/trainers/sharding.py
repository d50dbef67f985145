"""Ways to deal the weights of a model out to processes, and what cannot be done with each, said before any work."""

from __future__ import annotations

import os
from typing import Any

from accelerate.utils import parse_flag_from_env
from transformers.integrations import is_deepspeed_zero3_enabled

from genrlhf.errors import ConfigError
from genrlhf.models.gather import FIRST_FSDP

__all__ = ["refuse_sharded_sampling", "refuse_sharded_start", "sharding_of"]


def sharding_of(args: Any) -> str | None:
    """Return how a run deals weights out, "ZeRO-3", "FSDP1" or "FSDP2", by its settings and by what launched it.

    Args:
        args: of a Trainer; once they are made, DeepSpeed's configuration is known.

    Returns:
        None where every process holds them whole, as with DDP and ZeRO-2.
    """
    if is_deepspeed_zero3_enabled():
        return "ZeRO-3"
    given = getattr(args, "fsdp_plugin_args", None)
    if given is not None:
        # transformers names the version of its own default.
        return f"FSDP{given.get('fsdp_version', 2)}"
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return f"FSDP{os.environ.get('FSDP_VERSION', '1')}"
    return None


def refuse_sharded_sampling(args: Any, what: str, *, gathers: bool = False) -> None:
    """Raise where samples are to be drawn from a model whose weights are dealt out.

    Args:
        args: of a Trainer.
        what: draws them, for the message.
        gathers: it gathers what FSDP2 deals out.

    Raises:
        ConfigError: with what to use instead.
    """
    kind = sharding_of(args)
    if kind is None or (gathers and kind == "FSDP2"):
        return
    if gathers and kind == "FSDP1":
        raise ConfigError(FIRST_FSDP)
    others = "ZeRO-2, FSDP2 or DDP" if gathers else "ZeRO-2 or DDP"
    raise ConfigError(
        f"{what} samples from the model that it trains, which needs whole parameters on every process: use {others}, "
        f"not {kind}."
    )


def refuse_sharded_start(args: Any, what: str) -> None:
    """Raise where a copy of the model as it starts would lose the frozen weights that it shares with the model.

    FSDP1 and ZeRO-3 put other contents into the parameters that a model brings along; FSDP2 puts others in their place.

    Args:
        args: of a Trainer.
        what: reads the copy, for the message.

    Raises:
        ConfigError: with what to use instead.
    """
    kind = sharding_of(args)
    if kind in ("FSDP1", "ZeRO-3"):
        raise ConfigError(
            f"{what} reads the model as it starts, which shares its frozen weights with the one that is trained, and "
            f"{kind} takes these apart: use ZeRO-2, FSDP2 or DDP."
        )
