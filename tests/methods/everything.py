"""A small run of any method: what it needs, two steps, whatever the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from genrlhf.methods import METHODS, get_method
from genrlhf.types import Sample
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, prompt_rows, weights

POLICIES = [name for name in METHODS if get_method(name).makes == "policy"]

ROWS: dict[str, Dataset] = {
    "prompts": prompt_rows(8),
    "demonstrations": Dataset.from_list(
        [{"prompt": "q" + "x" * (n % 5), "completion": "abcd"[: 1 + n % 4]} for n in range(8)]
    ),
    "preferences": Dataset.from_list(
        [
            {"prompt": "q" + "x" * (n % 5), "chosen": "ab" * (1 + n % 3), "rejected": "ba" * (1 + n % 2)}
            for n in range(8)
        ]
    ),
    "labels": Dataset.from_list(
        [
            {"prompt": "q" + "x" * (n % 5), "completion": ("ab" if n % 3 else "cd") * (1 + n % 3), "label": bool(n % 3)}
            for n in range(8)
        ]
    ),
}

# Not Adam, which makes whole steps of gradients that are nothing but rounding.
FEW: dict[str, Any] = {
    "optim": "sgd",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "max_steps": 2,
    "num_ppo_epochs": 1,
    "n": 2,
    "samples_per_prompt": 2,
    "max_new_tokens": 4,
    "missing_eos_score": None,
}


def lengths(texts: list[str]) -> list[list[float]]:
    """An encoder of texts."""
    return [[1.0, float(len(text))] for text in texts]


class Refiner:
    """A sampler that puts a letter in front of what it is asked."""

    def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
        for place, prompt in enumerate(prompts):
            yield place, [Sample("abcdefgh"[number] + prompt, "stop", 1) for number in range(n)]

    def sample(self, prompts: Any, n: int, params: Any, seed: int) -> list[list[str]]:
        return [[each.text for each in samples] for _, samples in self.stream(prompts, n, params, seed)]


def advice(prompts: Any, completions: Any) -> list[str]:
    """Feedback in words."""
    return [f"not {len(completion)}" for completion in completions]


def parity(prompts: Any, completions: Any) -> list[str]:
    """One of two instructions, which each completion fulfils."""
    return ["ab"[sum(map(ord, completion)) % 2] for completion in completions]


def scores(prompts: Any, drafts: Any, feedback: Any, refinements: Any) -> list[float]:
    """Scores of refinements."""
    return [float(ord(text[0]) % 3) for text in refinements]


OWN: dict[str, dict[str, Any]] = {
    "hir": {
        "settings": {"feedback": parity, "instructions": ["a", "b"], "alpha": 0.5, "epsilon": 0.1, "beta": 0.01},
        "config": {"num_iterations": 2},
    },
    "ilf": {
        "settings": {
            "feedback": advice,
            "refiner": Refiner(),
            "scorer": scores,
            "refine_template": "{prompt}{draft}{feedback}",
        }
    },
    # Its KL is estimated over the completions of a micro-batch, of which it wants two.
    "kto": {"splits": []},
    "prompt_distillation": {"settings": {"context": "be good "}},
    "prompt_distillation_given": {"settings": {"context": "be good "}},
    "chain_of_hindsight": {"settings": {"good": [" good: "], "bad": [" bad: "]}},
    # Of as many prompts there are four rows, which two processes of four have alike.
    "divpo": {"rows": prompt_rows(5)},
    # A sample that was cut off is no link, and an untrained model seldom ends by itself.
    "chain_of_hindsight_sampled": {
        "settings": {"good": [" good: "], "bad": [" bad: "]},
        "rows": prompt_rows(7),
        "config": {"max_new_tokens": 12, "n": 8, "stop": list("abcdefghijklmnopqrstuvwxyz0123456789 .,;")},
    },
    # With this seed the first step looks at sequences, the second at tokens.
    "unlikelihood": {"settings": {"prefix": 2, "continuation": 12, "ngram": 2}, "config": {"seed": 44}},
    "pass_at_k": {"config": {"pass_k": 2, "samples_per_prompt": 4}},
    "dqo": {"settings": {"encoder": lengths}},
    # Their covariances are over a micro-batch.
    "kl_cov": {"config": {"num_ppo_epochs": 2}, "splits": []},
    "clip_cov": {"splits": []},
    "adversarial": {"settings": {"discriminator_warmup": 2, "discriminator_lr": 1e-3}, "config": {"max_new_tokens": 6}},
}
"""What is particular of a method.

`settings` of its own and of its trainer (`config`); `rows` where those of its need do not do; `splits` of a step of
eight into batches and accumulation that do the same, where they are not all.
"""

SPLITS = [(4, 2), (1, 8)]


def short(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A verifier that every method can use: half of what an untrained model writes passes."""
    return [float(sum(map(ord, completion)) % 2) for completion in completions]


def trainer(name: str, folder: Path, *, batch: int = 8, accumulation: int = 1, **options: Any) -> Any:
    """Return a trainer of two steps on eight rows, or completions, each; `options` go to its settings or to itself."""
    method, own = get_method(name), OWN.get(name, {})
    config, kind = method.config_class(), method.settings_class()
    given = {
        **method.recipe,
        **QUIET,
        **FEW,
        **own.get("config", {}),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        **options,
    }
    fields = config.__dataclass_fields__
    return method.build(
        tiny_llama(),
        config(str(folder), **{key: value for key, value in given.items() if key in fields}),
        own.get("rows", ROWS[method.needs[0]]),
        reward=short if "reward" in method.needs else None,
        settings=kind(**own["settings"]) if kind is not None and "settings" in own else None,
        processing_class=tiny_tokenizer(),
        peft_config=options.get("peft_config"),
    )


def trained(made: Any) -> dict[str, torch.Tensor]:
    """Train, and return the weights of the policy."""
    made.train()
    if hasattr(made, "policy"):
        return weights(made.policy)
    return weights(made.accelerator.unwrap_model(made.model) if hasattr(made, "accelerator") else made.model)
