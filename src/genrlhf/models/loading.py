"""Models and tokenizers from a name, a folder or a module."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from genrlhf.errors import ModelError
from genrlhf.models.heads import reset_score_head
from genrlhf.models.quantisation import is_quantised, quantised, refuse_packed, settled, without_quantisation

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_causal_lm", "load_for_reward_training", "load_reward_model", "load_tokenizer"]


def _init_kwargs(model_init_kwargs: dict[str, Any] | None, trust_remote_code: bool) -> dict[str, Any]:
    """Return arguments of `from_pretrained`: float32 unless they say otherwise, as training wants it."""
    kwargs = {"dtype": "float32", **(model_init_kwargs or {})}
    if trust_remote_code:
        kwargs["trust_remote_code"] = True
    return kwargs


def _read_config(name: str, trust_remote_code: bool) -> Any:
    try:
        return AutoConfig.from_pretrained(name, **({"trust_remote_code": True} if trust_remote_code else {}))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"There is no model at {name!r}: {str(error).splitlines()[0]} Give the folder of a saved model or a name "
            "on the hub (and mind HF_HUB_OFFLINE)."
        ) from error


def _read_adapter(name: str) -> dict[str, Any] | None:
    """Return the config of an adapter folder, None where `name` is no adapter folder."""
    file = Path(name) / "adapter_config.json"
    if not file.is_file():
        return None
    adapter: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return adapter


def _adapter_base(name: str) -> str | None:
    """Return the base model of an adapter folder, None where `name` is no adapter folder."""
    adapter = _read_adapter(name)
    return None if adapter is None else str(adapter["base_model_name_or_path"])


def _is_score_adapter(name: str) -> bool:
    """Return whether `name` is the folder of an adapter of a sequence classifier, which holds the score head too."""
    adapter = _read_adapter(name)
    return adapter is not None and adapter.get("task_type") == "SEQ_CLS"


def _refuse_unless_generator(config: Any, label: str) -> None:
    """Raise unless the config is that of a decoder that generates left to right."""
    encoder_decoder = getattr(config, "is_encoder_decoder", False)
    # Encoders such as BERT have a causal-LM class too, but declare themselves decoders only when asked to be.
    masked = any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in config.architectures or [])
    encoder = getattr(config, "is_decoder", None) is False and (masked or config.model_type in _ENCODERS)
    if encoder_decoder or encoder or type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(
            f"{label} is a {config.model_type} model, which is no causal language model; give a decoder that "
            "AutoModelForCausalLM loads, such as facebook/opt-125m."
        )


_ENCODERS = frozenset(
    {"bert", "roberta", "electra", "camembert", "xlm-roberta", "megatron-bert", "rembert", "roformer"}
)


def load_causal_lm(
    model: str | PreTrainedModel | PeftModel,
    *,
    model_init_kwargs: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel | PeftModel:
    """Return a causal language model, in float32 unless `model_init_kwargs` says otherwise.

    Args:
        model: a hub name, a folder (of a model or a PEFT adapter, which is merged into its base) or a module, which is
            returned as it is.
        model_init_kwargs: arguments of `from_pretrained`.
        trust_remote_code: run code that the model's repository ships.

    Raises:
        ModelError: where there is no such model, or it is no causal language model.
    """
    if not isinstance(model, str):
        _refuse_unless_generator(model.config, f"The model ({type(model).__name__})")
        if model.get_output_embeddings() is None:
            raise ModelError(
                f"The model is a {type(model).__name__}, which has no language-model head; load it with "
                "AutoModelForCausalLM."
            )
        refuse_packed(model)
        return settled(model)
    base = _adapter_base(model)
    name = base if base is not None else model
    config = _read_config(name, trust_remote_code)
    _refuse_unless_generator(config, repr(name))
    # transformers would load a classifier's layers and draw a language-model head at random.
    for architecture in config.architectures or []:
        if architecture.endswith("Classification"):
            raise ModelError(
                f"{name!r} holds a {architecture}, which has no language-model head; give the folder of a causal "
                "language model."
            )
    kwargs = _init_kwargs(model_init_kwargs, trust_remote_code)
    if base is None:
        return settled(AutoModelForCausalLM.from_pretrained(name, **kwargs))
    merged = _merge_adapter(AutoModelForCausalLM.from_pretrained(name, **without_quantisation(kwargs)), model)
    merged.requires_grad_(True)
    merged.config._name_or_path = model
    return settled(quantised(merged, kwargs))


def _merge_adapter(base: PreTrainedModel, folder: str) -> PreTrainedModel:
    """Return `base` with the adapter merged into it, not quantised: steps of 4 or 8 bits would swallow the adapter."""
    from peft import PeftModel

    if is_quantised(base):
        base = base.dequantize()
    merged: PreTrainedModel = PeftModel.from_pretrained(base, folder).merge_and_unload()
    return merged


def load_for_reward_training(
    model: str | PreTrainedModel | PeftModel,
    *,
    model_init_kwargs: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel | PeftModel:
    """Return a sequence classifier with one label to train a reward model from.

    A causal language model gets a fresh head, initialised by `reset_score_head`; a classifier with one label keeps its
    own.

    Raises:
        ModelError: where there is no such model, or a classifier has other than one label.
    """
    if not isinstance(model, str):
        _refuse_unless_scorer(model)
        refuse_packed(model)
        return settled(model)
    if _is_score_adapter(model):
        merged = load_reward_model(model, model_init_kwargs=model_init_kwargs, trust_remote_code=trust_remote_code)
        return merged if is_quantised(merged) else merged.requires_grad_(True)
    base = _adapter_base(model)
    config = _read_config(base if base is not None else model, trust_remote_code)
    classifier = any(arch.endswith("ForSequenceClassification") for arch in config.architectures or [])
    if classifier:
        _refuse_other_labels(config, repr(model))
    kwargs = _init_kwargs(model_init_kwargs, trust_remote_code)
    if base is not None:
        causal = load_causal_lm(
            model, model_init_kwargs=without_quantisation(model_init_kwargs), trust_remote_code=trust_remote_code
        )
        with_score = copy.deepcopy(causal.config)
        with_score.num_labels = 1
        loaded = AutoModelForSequenceClassification.from_config(with_score, dtype=causal.dtype)
        loaded.base_model.load_state_dict(causal.base_model.state_dict())
        loaded.config._name_or_path = model
        loaded = quantised(loaded, kwargs)
    else:
        loaded = AutoModelForSequenceClassification.from_pretrained(model, **{**kwargs, "num_labels": 1})
    if not classifier:
        reset_score_head(loaded)
    return settled(loaded)


def _refuse_unless_scorer(model: Any) -> None:
    label = f"The reward model ({type(model).__name__})"
    if model.get_output_embeddings() is not None:
        raise ModelError(
            f"{label} is a language model and has no score; load it with AutoModelForSequenceClassification."
        )
    _refuse_other_labels(model.config, label)


def _refuse_other_labels(config: Any, label: str) -> None:
    if config.num_labels != 1:
        raise ModelError(
            f"{label} has {config.num_labels} labels, but a reward model has one, the score; train one with "
            "RewardModelTrainer or load a model with num_labels=1."
        )


def load_reward_model(
    model: str | PreTrainedModel,
    *,
    model_init_kwargs: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Return a trained reward model: a sequence classifier with one label.

    Args:
        model: a hub name, a folder (of a model or a PEFT adapter, which is merged into its base) or a module.
        model_init_kwargs: arguments of `from_pretrained`; float32 unless they say otherwise.
        trust_remote_code: run code that the model's repository ships.

    Raises:
        ModelError: where there is no such model, it is no classifier, or it has other than one label.
    """
    if not isinstance(model, str):
        _refuse_unless_scorer(model)
        return settled(model)
    kwargs = _init_kwargs(model_init_kwargs, trust_remote_code)
    base = _adapter_base(model)
    if base is not None:
        if not _is_score_adapter(model):
            raise ModelError(
                f"{model!r} holds an adapter of a language model, which has no trained score; give one of a sequence "
                "classifier, such as one that RewardModelTrainer saved."
            )
        loaded = load_for_reward_training(
            base, model_init_kwargs=without_quantisation(model_init_kwargs), trust_remote_code=trust_remote_code
        )
        return settled(quantised(_merge_adapter(loaded, model), kwargs))
    config = _read_config(model, trust_remote_code)
    architectures = config.architectures or []
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        raise ModelError(
            f"{model!r} holds a {', '.join(architectures) or config.model_type}, which has no trained score; give a "
            "sequence-classification model, such as one that RewardModelTrainer saved."
        )
    _refuse_other_labels(config, repr(model))
    return settled(AutoModelForSequenceClassification.from_pretrained(model, **kwargs))


def load_tokenizer(
    model: str | PreTrainedModel | PeftModel,
    processing_class: PreTrainedTokenizerBase | None = None,
    *,
    trust_remote_code: bool = False,
    needs_eos: bool = True,
) -> PreTrainedTokenizerBase:
    """Return `processing_class`, or else the tokenizer saved with the model.

    Raises:
        ModelError: where none is found, or the one found has no EOS token.
    """
    tokenizer = processing_class
    if tokenizer is None:
        name = model if isinstance(model, str) else str(getattr(model.config, "_name_or_path", ""))
        source = name
        if not (Path(name) / "tokenizer_config.json").is_file():
            source = _adapter_base(name) or name
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                source, **({"trust_remote_code": True} if trust_remote_code else {})
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"No tokenizer lies with the model {name!r}; pass one as processing_class.") from error
    if needs_eos and tokenizer.eos_token_id is None:
        raise ModelError("The tokenizer has no EOS token, so no completion could end; set tokenizer.eos_token.")
    return tokenizer
