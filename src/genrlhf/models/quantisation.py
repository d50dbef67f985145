"""Models whose weights bitsandbytes holds in 4 or 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genrlhf.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["is_quantised", "quantised", "refuse_packed", "settled", "without_quantisation"]


def without_quantisation(model_init_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Return arguments of `from_pretrained` without those that quantise."""
    return {key: value for key, value in (model_init_kwargs or {}).items() if key != "quantization_config"}


def quantised(model: PreTrainedModel, kwargs: dict[str, Any]) -> PreTrainedModel:
    """Return a model quantised as the `quantization_config` of `kwargs` says, or itself where there is none."""
    if kwargs.get("quantization_config") is None:
        return model
    name = model.config._name_or_path
    loaded: PreTrainedModel = type(model).from_pretrained(
        None, config=model.config, state_dict=model.state_dict(), **{"trust_remote_code": False, **kwargs}
    )
    loaded.config._name_or_path = name
    return loaded


def is_quantised(model: Any) -> bool:
    """Say whether the weights of a model are held in fewer bits than they are computed in."""
    return bool(getattr(model, "is_quantized", False))


def settled(model: Any) -> Any:
    """Return `model` with layers of bitsandbytes that can be trained through and may share their weights, in place."""
    for module in model.modules():
        # With AVX512-BF16 the first pass in eval mode would pack 4-bit weights for good: no gradient passes through
        # them then, and what is saved of them is wrong.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        # An 8-bit layer takes the scales from its weight in its first pass: the next to share the weight finds none.
        if hasattr(module, "init_8bit_state") and module.weight.CB is not None:
            module.init_8bit_state()
    return model


def refuse_packed(model: Any) -> None:
    """Raise where a CPU has packed 4-bit weights, see `settled`."""
    states = (getattr(parameter, "quant_state", None) for parameter in model.parameters())
    if any(getattr(state, "packing_format_for_cpu", False) for state in states):
        raise ModelError(
            "The 4-bit model has run on this CPU already, for which bitsandbytes packed its weights into a form that "
            "cannot be trained; load it anew."
        )
