"""Record what TRL's PPOTrainer computes in one step on a tiny model, for `tests/trainers/test_trl_reference.py`.

    pip install --no-deps --target trl-1.10 trl==1.10.0
    python tests/trainers/trl_reference/record.py --trl-path trl-1.10

TRL 1.10 is the last line with a PPO trainer. Run by hand, not by the tests: they read what it wrote, the
`reference.json` beside this file. Two settings are recorded, see `CASES`. Nothing of TRL's is written down here: its
`train` runs as it is, and its local variables are read when it first trains on the rollout and at every loss.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.helpers import EOS_ID, PAD_ID, tiny_llama, tiny_reward_model, tiny_tokenizer

PROMPTS, TOKENS = 16, 6

SETTINGS: dict[str, Any] = {
    "kl_estimator": "k1",
    "whiten_rewards": False,
    "missing_eos_penalty": 1.5,
    "num_ppo_epochs": 2,
    "num_mini_batches": 2,
    "kl_coef": 0.2,
    "gamma": 0.97,
    "lam": 0.9,
    "cliprange": 0.2,
    "cliprange_value": 0.2,
    "vf_coef": 0.3,
    "temperature": 0.8,
    "response_length": TOKENS,
    # So high that the later minibatches clip.
    "learning_rate": 0.02,
    "seed": 7,
}

CASES: dict[str, dict[str, Any]] = {
    "k1": {},
    "k3_whitened_rewards": {"kl_estimator": "k3", "whiten_rewards": True, "missing_eos_penalty": None},
}
"""What differs from `SETTINGS`."""

ROLLOUT = (
    *("query_responses", "responses", "postprocessed_responses", "padding_mask", "padding_mask_p1"),
    *("logprobs", "ref_logprobs", "values", "scores", "rewards", "advantages", "returns"),
)
MINIBATCH = ("mini_batch_inds", "new_logprobs", "vpred", "pg_loss", "vf_loss", "loss")
LOGGED = ("loss/policy_avg", "loss/value_avg", "policy/clipfrac_avg", "val/clipfrac_avg")


def plain(value: Any) -> Any:
    """Return a tensor or array as lists, with the nine digits that give a float32 back exactly."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, list):
        return [plain(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def caller(frame: FrameType) -> dict[str, Any]:
    """Return the local variables of TRL's `train`, which is somewhere up the stack."""
    current: FrameType | None = frame
    while current is not None:
        if current.f_code.co_name == "train" and current.f_code.co_filename.endswith("ppo_trainer.py"):
            return current.f_locals
        current = current.f_back
    raise RuntimeError("TRL's train() is not on the stack.")


def tiny_policy(seed: int) -> Any:
    """Return a policy that writes EOS in every second or third completion or so."""
    policy = tiny_llama(seed=seed)
    with torch.no_grad():
        policy.lm_head.weight[EOS_ID] *= 5
    return policy


def record(settings: dict[str, Any], folder: str) -> dict[str, Any]:
    """Run one step and return what was computed on the way."""
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    policy, reference = tiny_policy(seed=0), tiny_policy(seed=0)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(0.9)  # so that there is a KL to estimate
    reward_model = tiny_reward_model(seed=1)
    rows = [{"input_ids": [10 + number, 40, *range(70, 70 + number % 3)]} for number in range(PROMPTS)]
    trainer = PPOTrainer(
        args=PPOConfig(
            folder,
            # Larger than a minibatch, not accumulated: there TRL 1.10 also averages over places it never fills.
            per_device_train_batch_size=PROMPTS,
            total_episodes=PROMPTS,
            stop_token="eos",
            num_sample_generations=0,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            **{"bf16": False, "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"},
            **settings,
        ),
        processing_class=tiny_tokenizer(),
        model=policy,
        ref_model=reference,
        reward_model=reward_model,
        value_model=tiny_reward_model(seed=2),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:1]),
    )
    found: dict[str, Any] = {"settings": settings, "minibatches": []}
    forward, get_reward, backward = ppo_trainer.forward, ppo_trainer.get_reward, trainer.accelerator.backward

    def recording_forward(model: torch.nn.Module, *args: Any) -> Any:
        if model is trainer.model and "rollout" not in found:
            local = caller(sys._getframe(1))
            found["rollout"] = {name: plain(local[name]) for name in ROLLOUT}
            found["context_length"] = local["context_length"]
        return forward(model, *args)

    def recording_get_reward(model: torch.nn.Module, *args: Any) -> Any:
        output = get_reward(model, *args)
        if model is reward_model:
            found["raw_scores"] = plain(output[1])
        return output

    def recording_backward(loss: torch.Tensor, **kwargs: Any) -> None:
        local = caller(sys._getframe(1))
        found["minibatches"].append({name: plain(local[name]) for name in MINIBATCH})
        backward(loss, **kwargs)

    np.random.seed(settings["seed"])  # TRL shuffles minibatches with numpy, and seeds torch only
    with (
        patch.object(ppo_trainer, "forward", recording_forward),
        patch.object(ppo_trainer, "get_reward", recording_get_reward),
        patch.object(trainer.accelerator, "backward", recording_backward),
    ):
        trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if LOGGED[0] in entry]
    found["logged"] = {name: plain(entry[name]) for name in LOGGED}
    check(found)
    return found


def check(found: dict[str, Any]) -> None:
    """Raise unless the step has every kind of completion, and has clipped something."""
    responses = torch.tensor(found["rollout"]["postprocessed_responses"])
    ends = [(row == EOS_ID).nonzero()[0].item() if EOS_ID in row else None for row in responses]
    print("EOS at", ends, found["logged"], file=sys.stderr)
    if None not in ends or TOKENS - 1 not in ends or not any(end is not None and end < TOKENS - 1 for end in ends):
        raise RuntimeError("No completion without EOS, none that ends on its last token, or none that ends earlier.")
    if any(PAD_ID in row[: (TOKENS if end is None else end)] for row, end in zip(responses, ends, strict=True)):
        raise RuntimeError("The policy drew the pad token, which TRL takes for the end; choose another seed.")
    if not (found["logged"]["policy/clipfrac_avg"] > 0 and found["logged"]["val/clipfrac_avg"] > 0):
        raise RuntimeError("Nothing was clipped; choose a higher learning rate.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-path", required=True, help="folder that TRL 1.10 was installed to")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("reference.json"))
    args = parser.parse_args()
    sys.path.insert(0, args.trl_path)
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1")
    import trl

    versions = {"trl": trl.__version__} | {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: record({**SETTINGS, **changes}, folder) for name, changes in CASES.items()}
    args.output.write_text(json.dumps({"versions": versions, "cases": cases}) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
