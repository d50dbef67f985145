"""A sampler over vLLM in the same process, for evaluation and for PPO."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.chat import Prompt
from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.structure import inner_model
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.decode import check_prompt_lengths, left_pad
from genrlhf.types import Generation, Sample, SamplingParams

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["VLLMSampler"]

_SEQUENCES_PER_CALL = 1024


class VLLMSampler:
    """Draws completions with `vllm.LLM`.

    The engine runs in this process (`VLLM_ENABLE_V1_MULTIPROCESSING=0` is set), so that weights reach it without a
    copy. A sample depends on its seed up to rounding, which varies with what is decoded beside it unless
    `VLLM_BATCH_INVARIANT=1` is set. vLLM applies min-p before top-k and top-p.

    Log-probabilities are vLLM's `processed_logprobs`, taken after temperature, filters and penalty. They are what
    `Sample` promises while no filter is on, and are refused with one.

    Args:
        model: a folder or a name on the hub.
        tokenizer: turns prompts into ids, vLLM's own by default; it needs a pad token for `generate`.
        llm_options: further arguments of `vllm.LLM`, such as `gpu_memory_utilization`, `dtype` or `max_model_len`.
    """

    def __init__(self, model: str, *, tokenizer: PreTrainedTokenizerBase | None = None, **llm_options: Any) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            import vllm
        except ImportError as error:
            raise ConfigError("VLLMSampler needs vLLM; pip install genrlhf[vllm].") from error
        self._options = llm_options
        self._vllm = vllm
        self._llm = vllm.LLM(model, logprobs_mode="processed_logprobs", **llm_options)
        self._device = torch.device("cpu")
        self.tokenizer: Any = tokenizer if tokenizer is not None else self._llm.get_tokenizer()

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams, seed: int) -> list[list[str]]:
        """Return the texts of `n` completions of every prompt, in the order of the prompts."""
        return [[sample.text for sample in samples] for _, samples in self.stream(prompts, n, params, seed)]

    def stream(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        seed: int,
        *,
        rows: Sequence[int] | None = None,
        done: Container[int] = (),
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place in prompts, its n samples)` in the order of the prompts, some hundred at a time."""
        ids = self._prompt_ids(prompts, n, params)
        rows = range(len(prompts)) if rows is None else rows
        places = [place for place in range(len(prompts)) if place not in done]
        step = max(1, _SEQUENCES_PER_CALL // n)
        for start in range(0, len(places), step):
            some = places[start : start + step]
            seeds = sample_seeds(seed, [rows[place] for place in some], n)
            outputs = self._draw([ids[place] for place in some], n, params, seeds)
            samples = [
                Sample(
                    output.text,
                    output.finish_reason,
                    len(output.token_ids),
                    _logprobs(output) if params.logprobs else None,
                    list(output.token_ids),
                )
                for output in outputs
            ]
            for number, place in enumerate(some):
                yield place, samples[number * n : (number + 1) * n]

    def generate(self, prompts: Sequence[Prompt], n: int, params: SamplingParams, seeds: Sequence[int]) -> Generation:
        """Return `n` completions of every prompt as token ids, the samples of one prompt side by side.

        `entropy` and `last_hidden` are None. The tensors lie on the device of the model last given to
        `update_weights`, before that on the CPU.
        """
        pad = self.tokenizer.pad_token_id
        if pad is None:
            raise ModelError("The tokenizer has no pad token; give VLLMSampler a tokenizer that has one.")
        ids = self._prompt_ids(prompts, n, params)
        outputs = self._draw(ids, n, params, seeds)
        prompt_ids, prompt_mask = left_pad(ids, pad)
        lengths = torch.tensor([len(output.token_ids) for output in outputs])
        width = int(lengths.max())
        completions = [list(output.token_ids) + [pad] * (width - len(output.token_ids)) for output in outputs]
        logprobs = None
        if params.logprobs:
            values = [_logprobs(output) for output in outputs]
            logprobs = torch.tensor([row + [0.0] * (width - len(row)) for row in values]).to(self._device)
        return Generation(
            prompt_ids=prompt_ids.repeat_interleave(n, dim=0).to(self._device),
            prompt_mask=prompt_mask.repeat_interleave(n, dim=0).to(self._device),
            completion_ids=torch.tensor(completions).to(self._device),
            completion_mask=(torch.arange(width) < lengths.unsqueeze(-1)).to(self._device),
            ended=torch.tensor([output.finish_reason == "stop" for output in outputs]).to(self._device),
            logprobs=logprobs,
        )

    def update_weights(self, model: PreTrainedModel) -> None:
        """Draw from the weights of `model`, of the same architecture, from now on; adapters are merged on the way.

        Uses `reload_weights(weights_iterator=…)` of vLLM's workers, which exists since vLLM 0.16.
        """
        if any(self._options.get(f"{kind}_parallel_size", 1) != 1 for kind in ("tensor", "pipeline", "data")):
            raise ConfigError("update_weights needs a vLLM on one device; leave out the *_parallel_size options.")
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": _checkpoint_weights(model)})
        # What it holds of prompts was computed with the weights before.
        if self._llm.reset_prefix_cache() is False:
            raise ModelError("vLLM did not reset its prefix cache; update the weights while it draws nothing.")
        self._device = model.device

    def _prompt_ids(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> list[list[int]]:
        if n < 1:
            raise ConfigError(f"n, the samples of a prompt, must be at least 1, not {n}.")
        filters = {"min_new_tokens": 0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
        on = [name for name, off in filters.items() if getattr(params, name) != off]
        if params.logprobs and on:
            raise ConfigError(
                f"logprobs cannot be had with {' and '.join(on)}, because vLLM takes them after its filters; switch "
                "one or the other off, or use TransformersSampler."
            )
        context = int(self._llm.llm_engine.model_config.max_model_len)
        return check_prompt_lengths(self.tokenizer, prompts, max_length=context - params.max_new_tokens)

    def _draw(self, ids: Sequence[list[int]], n: int, params: SamplingParams, seeds: Sequence[int]) -> list[Any]:
        """Return vLLM's output of every sample; the samples of a prompt share its prefix in vLLM's cache."""
        if not ids:
            return []
        requests = [self._vllm.TokensPrompt(prompt_token_ids=row) for row in ids for _ in range(n)]
        drawn = self._llm.generate(requests, [self._params(params, seed) for seed in seeds], use_tqdm=False)
        outputs = [request.outputs[0] for request in drawn]
        for number, output in enumerate(outputs):
            if output.finish_reason not in ("stop", "length"):
                raise ModelError(
                    f"vLLM ended sample {number % n} of prompt {number // n} of a batch with finish_reason "
                    f"{output.finish_reason!r}; look at its log."
                )
        return outputs

    def _params(self, params: SamplingParams, seed: int) -> Any:
        return self._vllm.SamplingParams(
            seed=seed,
            max_tokens=params.max_new_tokens,
            min_tokens=params.min_new_tokens,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
            stop=list(params.stop) or None,
            logprobs=0 if params.logprobs else None,
        )


def _logprobs(output: Any) -> list[float]:
    """Return the log-probability of every token drawn, from one dictionary by token id a position."""
    return [float(entry[token].logprob) for token, entry in zip(output.token_ids, output.logprobs, strict=True)]


def _checkpoint_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and value of every weight, as a checkpoint of the model inside any PEFT wrapper has them."""
    inner = inner_model(model)
    prefix = None if inner is model else getattr(model.base_model, "prefix", None)
    if inner is not model and prefix is None:
        raise ModelError("Adapters that prepend to the prompt cannot be merged; train LoRA for sampling with vLLM.")
    for name, parameter in inner.named_parameters():
        if not parameter.is_floating_point():
            raise ModelError(f"{name} is quantised, and vLLM needs it as it was; load the model without quantisation.")
        layer, _, own = name.partition(".base_layer.")
        if own:
            yield f"{layer}.{own}", _merged(inner.get_submodule(layer), own)
        elif prefix is None:
            yield name, parameter.detach()
        elif f".{prefix}" not in name and ".original_module." not in name:
            yield name.replace(f".modules_to_save.{model.active_adapter}.", "."), parameter.detach()


def _merged(layer: Any, name: str) -> torch.Tensor:
    """Return a parameter of a PEFT layer merged with its adapters, and leave the layer as it was.

    It merges a copy: unmerging leaves rounding behind, which would add up over updates.
    """
    base = layer.get_base_layer()
    before = {parameter: parameter.data for parameter in base.parameters()}
    for parameter, data in before.items():
        parameter.data = data.clone()
    layer.merge()
    # vLLM may keep it until the rest of its layer has come.
    merged: torch.Tensor = base.get_parameter(name).detach().clone()
    layer.unmerge()
    for parameter, data in before.items():
        parameter.data = data
    return merged
