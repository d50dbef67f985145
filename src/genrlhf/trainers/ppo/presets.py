"""Settings of published PPO runs."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["PPO_PRESETS"]

PPO_PRESETS: Final[dict[str, dict[str, Any]]] = {
    "kirk2023": {
        "learning_rate": 1.5e-5,
        "per_device_train_batch_size": 256,
        "num_ppo_epochs": 4,
        "num_rollouts": 750,
        "freeze_layers": 0.8,
        "kl_coef": 0.05,
        "kl_estimator": "k1",
        "gamma": 1.0,
        "lam": 0.95,
        "clip_range": 0.2,
        "max_new_tokens": 48,
    },
    "kirk2023-released": {
        "learning_rate": 1.5e-6,
        "per_device_train_batch_size": 256,
        "num_ppo_epochs": 4,
        "num_rollouts": 500,
        "freeze_layers": 0.8,
        "kl_coef": 5.0,
        "kl_estimator": "k2",
        "gamma": 1.0,
        "lam": 0.95,
        "clip_range": 0.2,
        "max_new_tokens": 48,
    },
    "nplus": {
        "learning_rate": 3e-6,
        "adam_epsilon": 1e-5,
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 64,
        "gradient_accumulation_steps": 8,
        "num_ppo_epochs": 4,
        "kl_coef": 0.05,
        "kl_estimator": "k1",
        "gamma": 1.0,
        "lam": 0.95,
        "clip_range": 0.2,
        "value_clip_range": 0.2,
        "vf_coef": 0.1,
        "whiten_rewards": False,
        "whiten_advantages": True,
        "temperature": 0.7,
        "max_new_tokens": 53,
        "missing_eos_score": -1.0,
    },
    "ziegler2019": {
        "learning_rate": 1e-5,
        "adam_epsilon": 1e-5,
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 64,
        "gradient_accumulation_steps": 8,
        "num_ppo_epochs": 4,
        "kl_coef": 0.15,
        "kl_target": 6.0,
        "kl_horizon": 10000.0,
        "kl_estimator": "k1",
        "gamma": 1.0,
        "lam": 0.95,
        "clip_range": 0.2,
        "value_clip_range": 0.2,
        "vf_coef": 0.1,
        "whiten_rewards": True,
        "whiten_advantages": True,
        "temperature": 0.7,
        "max_new_tokens": 24,
        "missing_eos_score": -1.0,
    },
}
"""Settings by name, as `PPOConfig` takes them. Batches are those of one process: split them over yours.

* ``kirk2023``: what Kirk et al. 2024 report for summarisation (appendix): batch 256, 750 rollouts, β 0.05.
* ``kirk2023-released``: what the command does that its authors released: lr 1.5e-6, β 5.0 with k2, 500 rollouts.
* ``nplus``: Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO: A Case Study on TL;DR
  Summarization", as their code runs it: batch 512, rewards not whitened. Its value model starts from the reward model:
  pass `value_model="reward"` to the trainer.
* ``ziegler2019``: Ziegler et al. 2019 as their code runs it (Huang et al. 2023, "The N Implementation Details of RLHF
  with PPO"): batch 512, β from 0.15 towards a KL of 6 nats, rewards whitened.
"""
