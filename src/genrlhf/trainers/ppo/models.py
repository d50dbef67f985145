"""The models of PPO, with what they share held once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models import ScalarHead, load_causal_lm, load_reward_model, load_tokenizer
from genrlhf.models.model_set import Loaded, ModelSet
from genrlhf.models.policy import PolicyWithValue
from genrlhf.models.quantisation import is_quantised
from genrlhf.models.tokens import ensure_pad_token
from genrlhf.models.vocabulary import check_same_vocabulary
from genrlhf.rewards import ModelReward, RewardSource, WeightedReward, load_reward
from genrlhf.sampling.autoregressive import stop_token_ids
from genrlhf.sampling.comparable import refuse_reading_ahead
from genrlhf.trainers.ppo.trunk_reward import TrunkReward
from genrlhf.trainers.shared import device_for_trials
from genrlhf.trainers.state_files import learns_along

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
        tokenizer: of the policy.
    """

    trained: PolicyWithValue
    reference: PreTrainedModel
    reference_depth: int
    reward: RewardFunction
    trunk_reward: TrunkReward | None
    tokenizer: PreTrainedTokenizerBase

    @property
    def policy(self) -> PreTrainedModel:
        """The policy, without what predicts its values."""
        return self.trained.policy


def build_models(
    policy: Loaded,
    reward: RewardSource,
    args: PPOConfig,
    *,
    reward_tokenizer: PreTrainedTokenizerBase | None,
    ref_model: str | PreTrainedModel | None,
    value_model: str | PreTrainedModel | None,
    peft_config: PeftConfig | None,
    critic: bool = True,
) -> PPOModels:
    """Load the other models of PPO, and make all of them ready.

    Args:
        policy: the model to train, with its tokenizer.
        reward: see `load_reward`; reward models that have the policy's trunk come to share it.
        args: the settings.
        reward_tokenizer: of reward models; None for the ones saved with them.
        ref_model: what the KL is taken against; None for the policy as it is now.
        value_model: "reward", a sequence-classification model, or None for a head on the policy.
        peft_config: of the adapter to train instead of the policy.
        critic: values are predicted.

    Raises:
        ConfigError: for a value model or reference that cannot play its role, one with another vocabulary among them.
    """
    if value_model is not None and not critic:
        raise ConfigError(
            "value_model predicts values, which advantages among the completions of a prompt do without; leave it out."
        )
    scored = load_reward(
        reward,
        tokenizer=reward_tokenizer,
        batch_size=args.reward_batch_size,
        device=args.device,
        dtype=policy.model.dtype,
        trust_remote_code=args.trust_remote_code,
    )
    terms = scored.rewards if isinstance(scored, WeightedReward) else [scored]
    models = ModelSet.build(
        policy.model,
        args,
        peft_config=peft_config,
        value=_load_value_model(value_model, policy, scored, args),
        reference=_load_reference(ref_model, policy, args),
        # What learns changes its own layers: they are nobody else's.
        others=[term.model for term in terms if isinstance(term, ModelReward) and not learns_along(term)],
    )
    # Not its weight, which has another shape where it is quantised.
    width = models.policy.get_output_embeddings().in_features
    depth = models.depth
    trained = PolicyWithValue(
        models.policy,
        ScalarHead(width, init="zeros") if critic and models.value is None else None,
        value_model=models.value,
        temperature=args.temperature,
        depth=depth,
        value_depth=depth if models.shares(models.value) else 0,
        entropy_bonus=args.entropy_coef > 0 or args.entropy_target is not None,
        support=args.support(stop_token_ids(models.policy, policy.tokenizer)),
    )
    return PPOModels(
        trained,
        models.reference,
        reference_depth=depth if models.shares(models.reference) else 0,
        reward=scored,
        trunk_reward=TrunkReward(scored, depth)
        if isinstance(scored, ModelReward) and not learns_along(scored) and models.shares(scored.model)
        else None,
        tokenizer=policy.tokenizer,
    )


def _load_reference(source: str | PreTrainedModel | None, policy: Loaded, args: PPOConfig) -> Any:
    if source is None:
        return None
    options: dict[str, Any] = {"trust_remote_code": args.trust_remote_code}
    init_kwargs: Any = args.model_init_kwargs
    model = load_causal_lm(source, model_init_kwargs=init_kwargs, **options)
    check_same_vocabulary("ref_model", model, _own_tokenizer(source, model, args), policy.tokenizer)
    ensure_pad_token(policy.tokenizer, model)
    refuse_reading_ahead(model, device=device_for_trials(args), label="ref_model")
    return model


def _load_value_model(
    source: str | PreTrainedModel | None, policy: Loaded, reward: RewardFunction, args: PPOConfig
) -> Any:
    if source is None:
        return None
    if isinstance(source, str) and source == "reward":
        if not isinstance(reward, ModelReward):
            raise ConfigError('value_model="reward" needs a reward model as the reward, not a callable or a list.')
        model, own = copy.deepcopy(reward.model), reward.tokenizer
    else:
        dtype = {"dtype": policy.model.dtype}
        model = load_reward_model(source, model_init_kwargs=dtype, trust_remote_code=args.trust_remote_code)
        own = _own_tokenizer(source, model, args)
    if is_quantised(model):
        raise ConfigError(
            "The value model is quantised, and its weights could not be trained; give one that is not, or leave "
            "value_model at None for a head on the policy."
        )
    if not isinstance(getattr(model, "score", None), nn.Module):
        raise ModelError(
            f"The value model is a {type(model).__name__}, which has no head called score to be read at every token; "
            "give a sequence classifier of a decoder's family, or leave value_model at None for a head on the policy."
        )
    check_same_vocabulary("value_model", model, own, policy.tokenizer)
    for parameter in model.parameters():
        # Not model.to(dtype): rotary frequencies would lose their float32.
        parameter.data = parameter.data.to(policy.model.dtype)
    return model.requires_grad_(True)


def _own_tokenizer(source: Any, model: Any, args: PPOConfig) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer saved with a model, None where there is none."""
    try:
        origin = source if isinstance(source, str) else model
        return load_tokenizer(origin, trust_remote_code=args.trust_remote_code, needs_eos=False)
    except ModelError:
        return None
