from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import pytest
from transformers import HfArgumentParser

from genrlhf.errors import ConfigError
from genrlhf.trainers import BestOfNConfig, PPOConfig, RewardModelConfig, SFTConfig
from genrlhf.trainers.ranges import ABOVE_ZERO, AT_LEAST_ONE, BELOW_ONE, SHARE, check_ranges


@dataclass
class Settings:
    n: Annotated[int, AT_LEAST_ONE] = 1
    share: Annotated[float, SHARE] = 1.0
    part: Annotated[float, BELOW_ONE] = 0.0
    limit: Annotated[float | None, ABOVE_ZERO] = None


def test_what_is_in_range_or_none_passes() -> None:
    check_ranges(Settings())
    check_ranges(Settings(n=7, share=0.0, part=0.99, limit=1e-9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(n=0), "n must be at least 1, not 0"),
        (Settings(share=1.01), r"share must be in \[0, 1\], not 1.01"),
        (Settings(part=1.0), r"part must be in \[0, 1\), not 1.0"),
        (Settings(limit=math.inf), "limit must be above 0, and finite, not inf"),
        (Settings(limit=math.nan), "limit must be above 0, and finite, not nan"),
    ],
)
def test_what_is_out_of_range_is_named(settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_ranges(settings)


@pytest.mark.parametrize("config", [PPOConfig, SFTConfig, RewardModelConfig, BestOfNConfig])
@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "max_grad_norm", "num_train_epochs"])
def test_no_setting_of_a_trainer_is_nan(config: type, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is NaN"):
        config("x", use_cpu=True, **{name: math.nan})


def test_a_parser_of_arguments_sees_plain_types() -> None:
    (config,) = HfArgumentParser(PPOConfig).parse_args_into_dataclasses(  # type: ignore[arg-type]
        ["--output_dir", "x", "--use_cpu", "--num_ppo_epochs", "3", "--kl_target", "0.5", "--freeze_layers", "0.8"]
    )
    assert (config.num_ppo_epochs, config.kl_target, config.freeze_layers) == (3, 0.5, 0.8)
