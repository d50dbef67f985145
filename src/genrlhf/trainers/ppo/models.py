"""The models of PPO, with what they share held once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from genrlhf.errors import ConfigError
from genrlhf.models import ScalarHead, disable_dropout, freeze_layers, load_reward_model
from genrlhf.models.completions import PolicyWithValue
from genrlhf.models.quantisation import is_quantised
from genrlhf.models.reference import frozen_copy
from genrlhf.models.trunk import share_equal_parameters, trunk_depth
from genrlhf.rewards import ModelReward, WeightedReward
from genrlhf.trainers.ppo.trunk_reward import TrunkReward
from genrlhf.trainers.shared import refuse_quantised_without_adapter

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.types import RewardFunction

__all__ = ["PPOModels", "build_models"]


@dataclass(frozen=True)
class PPOModels:
    """Policy, value, reference and reward.

    Attributes:
        trained: the policy and what predicts its values.
        reference: the frozen model that the KL is taken against.
        reference_depth: layers of the policy's trunk that it shares, 0 for none.
        reward: scores completions.
        trunk_reward: the same from the policy's trunk, if the reward is a model that shares it.
    """

    trained: PolicyWithValue
    reference: PreTrainedModel
    reference_depth: int
    reward: RewardFunction
    trunk_reward: TrunkReward | None

    @property
    def policy(self) -> PreTrainedModel:
        """The policy, without what predicts its values."""
        return self.trained.policy


def build_models(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    reward: RewardFunction,
    value_model: str | PreTrainedModel | None,
    *,
    args: PPOConfig,
    peft_config: PeftConfig | None,
) -> PPOModels:
    """Freeze, copy and tie the models of PPO.

    Args:
        policy: the model to train.
        reference: what its KL is taken against; None for the policy as it is now.
        reward: scores completions; reward models that have the policy's trunk come to share it.
        value_model: "reward", a sequence-classification model, or None for a head on the policy.
        args: the settings.
        peft_config: of the adapter to train instead of the policy.
    """
    refuse_quantised_without_adapter(policy, peft_config)
    # What starts as the reward model is copied before that one shares anything.
    value = _value_model(value_model, policy, reward, args)
    if args.disable_dropout:
        disable_dropout(policy)
    freeze_layers(policy, args.freeze_layers)
    frozen = frozen_copy(policy if reference is None else reference, share_all=peft_config is not None)
    if peft_config is not None:
        from peft import get_peft_model

        policy = get_peft_model(policy, peft_config)
    if args.bf16:
        _train_in_float32(policy)
    depth = trunk_depth(policy)
    # Not its weight, which has another shape where it is quantised.
    width = policy.get_output_embeddings().in_features
    trained = PolicyWithValue(
        policy,
        ScalarHead(width, init="zeros") if value is None else None,
        value_model=value,
        temperature=args.temperature,
        depth=depth,
        value_depth=depth if value is not None and _share(value, policy, depth) else 0,
        entropy_bonus=args.entropy_coef > 0,
    )
    terms = reward.rewards if isinstance(reward, WeightedReward) else [reward]
    shared = [isinstance(term, ModelReward) and _share(term.model, policy, depth) for term in terms]
    trunk_reward = TrunkReward(reward, depth) if isinstance(reward, ModelReward) and shared[0] else None
    reference_depth = depth if _share(frozen, policy, depth) else 0
    return PPOModels(trained, frozen, reference_depth, reward, trunk_reward)


def _share(model: PreTrainedModel, policy: PreTrainedModel, depth: int) -> bool:
    return depth > 0 and share_equal_parameters(model, policy, depth)


def _value_model(
    source: str | PreTrainedModel | None, policy: PreTrainedModel, reward: RewardFunction, args: PPOConfig
) -> PreTrainedModel | None:
    if source is None:
        return None
    if isinstance(source, str) and source == "reward":
        if not isinstance(reward, ModelReward):
            raise ConfigError('value_model="reward" needs a reward model as the reward, not a callable or a list.')
        model = copy.deepcopy(reward.model)
    else:
        dtype = {"dtype": policy.dtype}
        model = load_reward_model(source, model_init_kwargs=dtype, trust_remote_code=args.trust_remote_code)
    if is_quantised(model):
        raise ConfigError(
            "The value model is quantised, and its weights could not be trained; give one that is not, or leave "
            "value_model at None for a head on the policy."
        )
    if args.disable_dropout:
        disable_dropout(model)
    model.requires_grad_(True)
    freeze_layers(model, args.freeze_layers)
    if args.bf16:
        _train_in_float32(model)
    return model


def _train_in_float32(model: torch.nn.Module) -> None:
    """Hold what is trained of a model in low precision in float32: small steps would be rounded away."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()
