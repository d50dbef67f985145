"""Models and tokenizers from a name, a folder or a module."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from genrlhf.errors import ModelError
from genrlhf.models.adapters import AdapterFolder, adapter_at, is_peft_model, merge_adapter, merged_copy
from genrlhf.models.folders import is_score, load_from, one_line, read_config
from genrlhf.models.quantisation import is_quantised, quantised, refuse_packed, settled, without_quantisation
from genrlhf.models.score_heads import reset_score_head
from genrlhf.models.structure import inner_model

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "check_causal_lm",
    "load_causal_lm",
    "load_for_reward_training",
    "load_reward_model",
    "load_tokenizer",
    "scorer_from",
]


def _init_kwargs(model_init_kwargs: dict[str, Any] | None, trust_remote_code: bool) -> dict[str, Any]:
    """Return arguments of `from_pretrained`: float32 unless they say otherwise, as training wants it.

    `trust_remote_code` is always among them: left out, transformers asks on standard input whether to run the code.
    """
    return {"dtype": "float32", **(model_init_kwargs or {}), "trust_remote_code": trust_remote_code}


def _of_base(adapter: AdapterFolder, model_init_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Return arguments of `from_pretrained` for the base of an adapter, which is merged before it is quantised."""
    revision = {} if adapter.revision is None else {"revision": adapter.revision}
    return {**without_quantisation(model_init_kwargs), **revision}


def _config(name: str, kwargs: dict[str, Any]) -> Any:
    return read_config(name, trust_remote_code=kwargs["trust_remote_code"], revision=kwargs.get("revision"))


def _is_classifier(config: Any) -> bool:
    return any(architecture.endswith("ForSequenceClassification") for architecture in config.architectures or [])


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
    kwargs = _init_kwargs(model_init_kwargs, trust_remote_code)
    adapter = adapter_at(model)
    if adapter is not None:
        base = load_causal_lm(
            adapter.base, model_init_kwargs=_of_base(adapter, kwargs), trust_remote_code=trust_remote_code
        )
        return settled(quantised(merge_adapter(base, adapter).requires_grad_(True), kwargs))
    _refuse_other_kinds(model, kwargs)
    return settled(load_from(AutoModelForCausalLM, model, **kwargs))


def check_causal_lm(model: str, *, trust_remote_code: bool = False) -> None:
    """Raise `ModelError` where a name or folder holds no causal language model, without reading its weights."""
    adapter = adapter_at(model)
    kwargs = _init_kwargs(None, trust_remote_code)
    if adapter is not None:
        check_causal_lm(adapter.base, trust_remote_code=trust_remote_code)
    else:
        _refuse_other_kinds(model, kwargs)


def _refuse_other_kinds(model: str, kwargs: dict[str, Any]) -> None:
    """Raise unless a causal language model lies at a name."""
    config = _config(model, kwargs)
    _refuse_unless_generator(config, repr(model))
    # transformers would load a classifier's layers and draw a language-model head at random.
    for architecture in config.architectures or []:
        if architecture.endswith("Classification"):
            raise ModelError(
                f"{model!r} holds a {architecture}, which has no language-model head; give the folder of a causal "
                "language model."
            )


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
        _refuse_unless_scorer(model, fresh=True)
        refuse_packed(model)
        return settled(model)
    kwargs = _init_kwargs(model_init_kwargs, trust_remote_code)
    adapter = adapter_at(model)
    if adapter is not None and _is_score_adapter(adapter, trust_remote_code):
        merged = load_reward_model(model, model_init_kwargs=model_init_kwargs, trust_remote_code=trust_remote_code)
        return merged if is_quantised(merged) else merged.requires_grad_(True)
    if adapter is not None:
        causal = load_causal_lm(
            model, model_init_kwargs=without_quantisation(model_init_kwargs), trust_remote_code=trust_remote_code
        )
        loaded = quantised(_with_score(causal, model), kwargs)
        reset_score_head(loaded)
        return settled(loaded)
    return settled(_load_scorer(model, kwargs))


def scorer_from(causal: Any) -> PreTrainedModel:
    """Return a sequence classifier with a copy of a language model's layers, in float32, and a head of zeros.

    Raises:
        ModelError: where the family has none.
    """
    if is_peft_model(causal):
        causal = merged_copy(causal)
    scorer: PreTrainedModel = _with_score(causal, str(causal.config._name_or_path)).float()
    reset_score_head(scorer, zeros=True)
    return scorer


def _load_scorer(name: str, kwargs: dict[str, Any]) -> PreTrainedModel:
    """Return a sequence classifier with the weights of any model, and a fresh head where that has none."""
    config = _config(name, kwargs)
    classifier = _is_classifier(config)
    if classifier:
        _refuse_other_scores(config, repr(name))
    else:
        _refuse_other_padding(config, repr(name))
        _refuse_without_classifier(config, repr(name))
    drawn: list[str] = []

    def fresh(key: str) -> bool:
        # Masked language models such as BERT's have no pooler, and none has DistilBERT's pre_classifier: a classifier
        # of transformers draws them with its last layer.
        parts = [part for part in key.split(".") if part in _BELOW_THE_SCORE or "pool" in part]
        drawn.extend([] if classifier else parts[:1])
        return is_score(key) or bool(parts and not classifier)

    settings = {**kwargs, "num_labels": 1}
    loaded: PreTrainedModel = load_from(AutoModelForSequenceClassification, name, fresh=fresh, **settings)
    loaded.genrlhf_drawn = sorted(set(drawn))
    if not classifier:
        reset_score_head(loaded)
    return loaded


_BELOW_THE_SCORE = frozenset({"pre_classifier", "head"})
"""Names of what lies between the last layer and the score, beside poolers."""


def _with_score(causal: Any, name: str) -> Any:
    """Return a sequence classifier with the layers of a language model; its head is drawn by transformers."""
    _refuse_without_classifier(causal.config, repr(name))
    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    scorer = AutoModelForSequenceClassification.from_config(config, dtype=causal.dtype)
    scorer.base_model.load_state_dict(causal.base_model.state_dict())
    scorer.name_or_path = scorer.config._name_or_path = name
    return scorer


def _is_score_adapter(adapter: AdapterFolder, trust_remote_code: bool) -> bool:
    """Say whether an adapter belongs to a sequence classifier, whose score it holds, or left to the base."""
    if adapter.task is not None or adapter_at(adapter.base) is not None:
        return adapter.task == "SEQ_CLS"
    return _is_classifier(read_config(adapter.base, trust_remote_code=trust_remote_code, revision=adapter.revision))


def _refuse_without_classifier(config: Any, label: str) -> None:
    own = "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {})
    if not own and type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise ModelError(
            f"{label} is a {config.model_type} model, for which transformers has no sequence classifier, so that no "
            "reward model of it could be loaded again; train one from another family, such as Llama, Qwen or OPT."
        )


def _refuse_unless_scorer(model: Any, *, fresh: bool) -> None:
    """Raise for a module that has no score, saying what it is; `fresh` is for one that is going to be trained."""
    name = type(inner_model(model)).__name__
    label = f"The reward model ({name})"
    ours = type(inner_model(model)).__module__.startswith("transformers.")
    kind = None
    if model.get_output_embeddings() is not None:
        masked = name.endswith(("ForMaskedLM", "ForPreTraining")) and not getattr(model.config, "is_decoder", False)
        kind = "a masked language model" if masked else "a language model"
    elif ours and not name.endswith("ForSequenceClassification"):
        # A class with code of its own may call itself as it likes.
        kind = "no sequence classifier"
    if kind is not None:
        remedy = (
            "load it with AutoModelForSequenceClassification, num_labels=1, or give its name or folder"
            if fresh
            else "train one from it with RewardModelTrainer, or give a sequence-classification model with one label"
        )
        raise ModelError(f"{label} is {kind} and has no {'' if fresh else 'trained '}score; {remedy}.")
    _refuse_other_scores(model.config, label)


def _refuse_other_padding(config: Any, label: str) -> None:
    """Raise for a family whose classifier gives a text another score beside longer ones."""
    if config.model_type == "xlnet":
        raise ModelError(
            f"{label} is an XLNet, whose class reads the score of a shorter text at its padding, so that it depends on "
            "the other texts of a batch; give a reward model of another family."
        )
    if config.model_type == "fnet":
        raise ModelError(
            f"{label} is an FNet, which takes no attention mask and reads padding as text, so that "
            "a score depends on the other texts of a batch; give a reward model of another family."
        )


def _refuse_other_scores(config: Any, label: str) -> None:
    _refuse_other_padding(config, label)
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
        _refuse_unless_scorer(model, fresh=False)
        return settled(merged_copy(model) if is_peft_model(model) else model)
    kwargs = _init_kwargs(model_init_kwargs, trust_remote_code)
    adapter = adapter_at(model)
    if adapter is not None:
        if not _is_score_adapter(adapter, trust_remote_code):
            raise ModelError(
                f"{model!r} holds an adapter of a language model, which has no trained score; give one of a sequence "
                "classifier, such as one that RewardModelTrainer saved."
            )
        base = load_for_reward_training(
            adapter.base, model_init_kwargs=_of_base(adapter, kwargs), trust_remote_code=trust_remote_code
        )
        return settled(quantised(merge_adapter(base, adapter), kwargs))
    config = _config(model, kwargs)
    if not _is_classifier(config):
        raise ModelError(
            f"{model!r} holds a {', '.join(config.architectures or []) or config.model_type}, which has no trained "
            "score; give a sequence-classification model, such as one that RewardModelTrainer saved."
        )
    _refuse_other_scores(config, repr(model))
    return settled(load_from(AutoModelForSequenceClassification, model, **kwargs))


def load_tokenizer(
    model: str | PreTrainedModel | PeftModel,
    processing_class: PreTrainedTokenizerBase | None = None,
    *,
    trust_remote_code: bool = False,
    needs_eos: bool = True,
    revision: str | None = None,
) -> PreTrainedTokenizerBase:
    """Return `processing_class`, or else the tokenizer saved with the model, of a `revision` on the hub.

    Raises:
        ModelError: where none is found, or the one found has no EOS token.
    """
    tokenizer = processing_class
    if tokenizer is None:
        name = model if isinstance(model, str) else str(getattr(model.config, "_name_or_path", ""))
        try:
            source, revision = _tokenizer_source(name, revision)
            tokenizer = AutoTokenizer.from_pretrained(
                source, trust_remote_code=trust_remote_code, revision=revision or "main"
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            raise ModelError(
                f"No tokenizer lies with the model {name!r}; pass one as processing_class. ({one_line(error, 200)})"
            ) from error
    if needs_eos and tokenizer.eos_token_id is None:
        raise ModelError("The tokenizer has no EOS token, so no completion could end; set tokenizer.eos_token.")
    return tokenizer


def _tokenizer_source(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return where the tokenizer of a model lies, and of which revision: with an adapter, or else with its base."""
    adapter = None if (Path(name) / "tokenizer_config.json").is_file() or not name else adapter_at(name)
    return (name, revision) if adapter is None else _tokenizer_source(adapter.base, adapter.revision)
