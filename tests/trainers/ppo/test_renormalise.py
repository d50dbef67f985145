"""Policy and reference are compared under the distribution that completions were drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.completions import completion_logits
from genrlhf.ops import nucleus
from genrlhf.ops.token_sets import unpack_bits
from genrlhf.sampling import TransformersSampler
from genrlhf.types import SamplingParams
from tests.helpers import EOS_ID, tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.sampling.families import PLAIN_FAMILIES
from tests.trainers.runs import logged, ppo_trainer, prompt_rows

ROWS, SEEDS = list(prompt_rows(16)), list(range(16))
EARLY = 5
LIMITS: dict[str, dict[str, Any]] = {
    "min_new_tokens": {"min_new_tokens": EARLY},
    "top_k": {"top_k": 6, "renormalise": "all"},
    "top_p": {"top_p": 0.5, "renormalise": "all"},
    "min_p": {"min_p": 0.3, "renormalise": "all"},
    "mask": {"mask_top_p": 0.5, "renormalise": "all"},
    "everything": {
        "top_k": 9,
        "top_p": 0.8,
        "min_p": 0.1,
        "mask_top_p": 0.9,
        "min_new_tokens": EARLY,
        "renormalise": "all",
    },
}


def fond_of_eos(build: Any = tiny_llama, *, much: float = 6.0, **options: Any) -> Any:
    """A model whose head has a bias towards EOS."""
    model = build(**options)
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[EOS_ID] = much
    head.bias = torch.nn.Parameter(bias)
    return model


@pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("low", [False, True])
def test_a_policy_has_no_kl_from_itself_and_its_first_ratio_is_one(
    tmp_path: Path, settings: dict[str, Any], low: bool
) -> None:
    trainer = ppo_trainer(
        tmp_path, model=fond_of_eos(), temperature=0.8, bf16=low, num_rollouts=1, num_ppo_epochs=1, **settings
    )
    scored = trainer.collector.sample_and_score(ROWS, SEEDS, masking=trainer.collector.masking)
    assert scored.log_ratio.abs().max() <= (0 if low else 1e-5)
    trainer.train()
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1.0, abs=1e-5)
    assert logged(trainer, "policy/approx_kl")[0] == pytest.approx(0.0, abs=1e-8)


CASES = [(tiny_llama, name) for name in LIMITS]
# A masking policy wants a family that shares prompts.
CASES += [(PLAIN_FAMILIES["falcon"], name) for name, limits in LIMITS.items() if "mask_top_p" not in limits]


@pytest.mark.parametrize(("build", "limits"), CASES)
def test_log_probabilities_against_a_loop(tmp_path: Path, build: Any, limits: str) -> None:
    settings = LIMITS[limits]
    policy, reference = fond_of_eos(build), build(seed=5) if build is tiny_llama else fond_of_eos(build, much=1.0)
    trainer = ppo_trainer(tmp_path, model=policy, ref_model=reference, temperature=0.7, **settings)
    scored = trainer.collector.sample_and_score(ROWS, SEEDS, masking=trainer.collector.masking)
    params = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "mask_top_p": 1.0, "min_new_tokens": 0, **settings}
    logits, ref_logits = (completion_logits(model, scored.tokens)[0].detach() for model in (policy, reference))
    for row in range(len(ROWS)):
        for t in range(int(scored.completion_mask[row].sum())):
            members = drawable(logits[row, t] / 0.7, t, params)
            token = int(scored.completion_ids[row, t])
            assert token in members
            probabilities, ref = ((each[row, t] / 0.7).exp() for each in (logits, ref_logits))
            within, ref_within = (each / each[members].sum() for each in (probabilities, ref))
            assert scored.logprobs[row, t] == pytest.approx(float(within[token].log()), abs=2e-4)
            assert scored.ref_logprobs[row, t] == pytest.approx(float(ref_within[token].log()), abs=2e-4)
            entropy = -sum(float(within[a] * within[a].log()) for a in members)
            assert scored.entropy[row, t] == pytest.approx(entropy, abs=2e-4)
    torch.testing.assert_close(scored.log_ratio, (scored.logprobs - scored.ref_logprobs) * scored.completion_mask)


def drawable(scaled: torch.Tensor, t: int, params: dict[str, Any]) -> list[int]:
    """The tokens that could be drawn, one filter after the other."""
    p = scaled.double().softmax(-1)
    tokens = [a for a in range(len(p)) if not (a == EOS_ID and t < params["min_new_tokens"])]
    tokens.sort(key=lambda a: -float(p[a]))

    def nucleus_of(tokens: list[int], most: float) -> list[int]:
        total, kept, mass = sum(float(p[a]) for a in tokens), [], 0.0
        for a in tokens:
            if mass / total >= most:
                break
            kept.append(a)
            mass += float(p[a])
        return kept

    tokens = nucleus_of(tokens, params["mask_top_p"])
    tokens = tokens[: params["top_k"] or None]
    tokens = nucleus_of(tokens, params["top_p"])
    return [a for a in tokens if p[a] >= params["min_p"] * p[tokens[0]]]


def test_kl_is_not_negative_in_expectation_where_it_was(tmp_path: Path) -> None:
    """A policy that wants to end, held to 8 tokens: as a KL of the whole vocabulary, leaving the reference pays."""
    rows, seeds = list(prompt_rows(64)), list(range(64))
    means = {}
    for choice in ("nothing", "min_new_tokens"):
        trainer = ppo_trainer(
            tmp_path / choice,
            model=fond_of_eos(much=8.0),
            ref_model=tiny_llama(seed=1),
            min_new_tokens=8,
            renormalise=choice,
            per_device_train_batch_size=64,
            train_dataset=prompt_rows(64),
        )
        means[choice] = float(trainer.collector.sample_and_score(rows, seeds).log_ratio.sum(-1).mean())
    assert means["nothing"] < means["min_new_tokens"] - 5
    assert means["min_new_tokens"] > 0


def test_filters_leave_log_probabilities_alone_unless_asked(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, top_p=0.5)
    scored = trainer.collector.sample_and_score(ROWS, SEEDS)
    assert scored.allowed is None
    with torch.no_grad():
        output = trainer.collector.model(*scored.tokens)
    mask = scored.completion_mask
    torch.testing.assert_close(scored.logprobs[mask], output.logprobs[mask], atol=1e-4, rtol=0)


def test_nlpo_s_kl_is_under_the_mask_if_asked(tmp_path: Path) -> None:
    whole = ppo_trainer(tmp_path / "whole", mask_top_p=0.3, ref_model=tiny_llama(seed=5))
    within = ppo_trainer(tmp_path / "within", mask_top_p=0.3, ref_model=tiny_llama(seed=5), renormalise="all")
    scored = [t.collector.sample_and_score(ROWS, SEEDS, masking=t.collector.masking) for t in (whole, within)]
    assert torch.equal(scored[0].completion_ids, scored[1].completion_ids)
    assert torch.equal(scored[0].allowed, scored[1].allowed)
    mask = scored[0].completion_mask
    torch.testing.assert_close(scored[0].logprobs[mask], scored[1].logprobs[mask])
    assert (scored[0].ref_logprobs < scored[1].ref_logprobs)[mask].all()


def test_every_end_of_a_model_with_several_is_left_out(tmp_path: Path) -> None:
    model = tiny_gpt2()
    other = tiny_tokenizer()("x")["input_ids"][0]
    model.generation_config.eos_token_id = [EOS_ID, other]
    trainer = ppo_trainer(tmp_path, model=model, min_new_tokens=EARLY)
    assert trainer.collector.support.eos_token_ids == tuple(sorted([EOS_ID, other]))
    scored = trainer.collector.sample_and_score(ROWS, SEEDS)
    logits, _ = completion_logits(trainer.policy, scored.tokens)
    p = logits.detach().softmax(-1)
    expected = p.gather(-1, scored.completion_ids.unsqueeze(-1)).squeeze(-1)[:, :EARLY]
    expected = (expected / (1 - p[:, :EARLY, [EOS_ID, other]].sum(-1))).log()
    torch.testing.assert_close(scored.logprobs[:, :EARLY], expected, atol=1e-4, rtol=1e-4)


class Foreign:
    """A sampler that knows the protocol and nothing else; `params` replaces what it is asked for."""

    def __init__(self, model: Any, **params: Any) -> None:
        self.inner = TransformersSampler(model, tiny_tokenizer())
        self.params = params

    def update_weights(self, model: Any) -> None:
        self.inner.update_weights(model)

    def generate(self, prompts: Any, n: int, params: SamplingParams, seeds: Any) -> Any:
        return self.inner.generate(prompts, n, SamplingParams(**{**vars(params), **self.params}), seeds)


def test_another_sampler_is_held_to_the_same(tmp_path: Path) -> None:
    own = ppo_trainer(tmp_path / "own", model=fond_of_eos(), min_new_tokens=EARLY)
    other = ppo_trainer(tmp_path / "o", model=fond_of_eos(), min_new_tokens=EARLY, sampler=Foreign(fond_of_eos()))
    ours, theirs = (trainer.collector.sample_and_score(ROWS, SEEDS) for trainer in (own, other))
    assert torch.equal(ours.completion_ids, theirs.completion_ids)
    torch.testing.assert_close(ours.logprobs * ours.completion_mask, theirs.logprobs * ours.completion_mask)
    with pytest.raises(ConfigError, match="a Foreign does not say"):
        ppo_trainer(tmp_path / "x", top_p=0.5, renormalise="all", sampler=Foreign(fond_of_eos()))
    with pytest.raises(ConfigError, match="mask_top_p needs to know which tokens could be drawn"):
        ppo_trainer(tmp_path / "x", mask_top_p=0.5, sampler=Foreign(fond_of_eos()))
    heedless = Foreign(fond_of_eos(), min_new_tokens=0)
    trainer = ppo_trainer(tmp_path / "y", model=fond_of_eos(), min_new_tokens=EARLY, sampler=heedless)
    with pytest.raises(ModelError, match="A Foreign drew EOS among the first 5 tokens"):
        trainer.collector.sample_and_score(ROWS, SEEDS)


def test_recorded_sets_are_those_of_the_nucleus(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, top_p=0.5, renormalise="all")
    scored = trainer.collector.sample_and_score(ROWS, SEEDS)
    logits, _ = completion_logits(trainer.policy, scored.tokens)
    mask = scored.completion_mask
    assert scored.allowed is not None
    assert torch.equal(unpack_bits(scored.allowed, logits.shape[-1])[mask], nucleus(logits, 0.5)[mask])
