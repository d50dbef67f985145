"""How much GPU memory PPO takes for a model of the Llama family, worked out rather than measured: needs no GPU.

    python benchmarks/ppo_memory.py                                  # LLaMA-7B, the settings of Kirk et al. 2024
    python benchmarks/ppo_memory.py --layers 22 --hidden 2048 --intermediate 5632 --heads 32 --kv-heads 4 --json

Two arrangements stand side by side. `shared` is that of `genrlhf.PPOTrainer` where the first layers are frozen, model
and reward model are loaded in bfloat16, and `bf16=True`: one trunk under the tops of policy, reference and reward
model, and a value head on the policy. `separate` is that of TRL 1.10: policy, reference, value model and reward model,
each whole, with the same share of policy and value model trained. Trained weights are float32 in both, all others
bfloat16.

With L layers of which k are trained, d the hidden size, f the intermediate size, V the vocabulary, h heads of size a,
h' of them for keys and values; B completions a rollout, n of each prompt, b a micro-batch, P and T tokens of a prompt
and a completion; in bytes:

    layer (parameters)    2 d h a + 2 d h' a + 3 d f + 2 d
    model (parameters)    2 V d + L layers + d              (V d where embeddings are tied)
    frozen, trained       2 and 4 a parameter; gradients 4 and AdamW's moments 8 a trained one
    trunk states          2 d (B P / n + B T) for the rollout, and 2 d s (P + T) for the s sequences of one step
    keys and values       4 L h' a a token, at most `--sampling-tokens` of them, a prompt once for its n samples
    activations           b (P + T) k (22 d + 8 h a + 8 f + 4 h + 8): what autograd keeps of a layer under autocast with
                          fused attention: the two norms 12 d + 8, the inputs of query, key, value, gate and up 10 d,
                          query and output of attention 4 h a, key and value 4 h a (repeated for all heads; a single
                          one is not), its log-sums 4 h, and in the MLP 8 f
    with checkpointing    b (P + T) (2 d k + 4 d + 4), the inputs of the layers and of the last norm, and the above for
                          one layer, which is computed again
    copies                2 for every trained weight matrix, in bfloat16, while autocast lasts
    logits                3 · 2 b (T + 1) V: the logits, and twice as much while their gradient is worked out

TRL keeps the float32 logits of all steps of sampling, 4 B T V, and asks policy and value model for the hidden states of
all layers, 2 · 2 (L + 1) d b (P + T); its logits and activations run over prompts too, the latter in two models.

The peak is weights and optimizer, trunk states, and the larger of sampling (keys and values) and training (the rest).
Left out are temporaries within a layer, what attention needs beyond its inputs and outputs, the step of the optimizer,
buffers of DistributedDataParallel, what the allocator wastes, and the CUDA context: `--reserve` stands for them.

Parameters are checked against models that transformers builds on torch's meta device, activations against what autograd
keeps of a small model with the same ratios; the exit status is 1 where either differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from genrlhf.models import ScalarHead, freeze_layers
from genrlhf.models.policy import PolicyWithValue

GIB = 2**30
TOLERANCE = 0.02
"""Share by which counted activations may differ: mask, positions and value head are not in the formula."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--intermediate", type=int, default=11008)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, help="heads of keys and values (default: --heads)")
    parser.add_argument("--tied", action="store_true", help="the LM head is the embeddings")
    parser.add_argument("--freeze-layers", type=float, default=0.8, help="share of frozen layers; 0 freezes nothing")
    parser.add_argument("--rollout", type=int, default=256, help="completions a rollout on one process")
    parser.add_argument("--samples-per-prompt", type=int, default=1)
    parser.add_argument("--mini-batches", type=int, default=1, help="optimizer steps an epoch")
    parser.add_argument("--micro-batch", type=int, default=32, help="sequences a forward and backward pass")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--sampling-batch", type=int, default=128, help="sequences decoded at a time")
    parser.add_argument("--sampling-tokens", type=int, default=65536, help="most tokens decoded at a time")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--device-gib", type=float, default=79.0, help="memory of the GPU; what an 80 GB one offers")
    parser.add_argument("--reserve", type=float, default=4.0, help="GiB for what is left out")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.kv_heads = args.kv_heads or args.heads
    if args.hidden % args.heads or args.heads % args.kv_heads:
        parser.error("--heads must divide --hidden, and --kv-heads must divide --heads")
    args.head_size = args.hidden // args.heads
    return args


def config(args: argparse.Namespace) -> LlamaConfig:
    return LlamaConfig(
        num_hidden_layers=args.layers,
        hidden_size=args.hidden,
        intermediate_size=args.intermediate,
        vocab_size=args.vocab,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        tie_word_embeddings=args.tied,
        num_labels=1,
        pad_token_id=0,
    )


def trained_layers(args: argparse.Namespace) -> int:
    """Return how many layers `freeze_layers` would leave to train."""
    frozen = min(round(args.freeze_layers * args.layers), args.layers - 1)
    return args.layers - frozen


def parameters(args: argparse.Namespace) -> dict[str, int]:
    """Return numbers of parameters: of whole models, of what is trained in them, and of tops."""
    attention = 2 * args.hidden * args.head_size * (args.heads + args.kv_heads)
    layer = attention + 3 * args.hidden * args.intermediate + 2 * args.hidden
    embeddings, norm, score = args.vocab * args.hidden, args.hidden, args.hidden
    classifier = embeddings + args.layers * layer + norm + score
    policy = classifier - score + (0 if args.tied else embeddings)
    top = trained_layers(args) * layer
    everything = args.freeze_layers == 0
    return {
        "layer": layer,
        "policy": policy,
        "policy_trained": policy if everything else top,
        "reference_top": policy if everything else top,
        "classifier": classifier,
        "classifier_trained": classifier if everything else top + score,
        "reward_top": classifier if everything else top + norm + score,
        "value_head": args.hidden + 1,
    }


def activations(args: argparse.Namespace, sequences: int) -> int:
    """Return the bytes that autograd keeps of the trained layers for the backward pass."""
    repeated = args.heads if args.kv_heads > 1 else 1
    attention = 4 * (args.heads + repeated) * args.head_size + 4 * args.heads
    layer = 22 * args.hidden + attention + 8 * args.intermediate + 8
    layers = trained_layers(args)
    inputs = 2 * args.hidden * layers + 4 * args.hidden + 4
    kept = inputs + layer if args.gradient_checkpointing else layers * layer
    return sequences * (args.prompt_tokens + args.new_tokens) * kept


def trained(count: int) -> dict[str, int]:
    """Return the bytes of trained parameters and what goes with them."""
    return {"weights": 4 * count, "gradients": 4 * count, "AdamW": 8 * count}


def key_value_bytes(args: argparse.Namespace, samples: int) -> int:
    each = args.prompt_tokens / samples + args.new_tokens
    tokens = min(args.sampling_batch * each, args.sampling_tokens)
    return int(tokens * 4 * args.layers * args.kv_heads * args.head_size)


def shared(args: argparse.Namespace, count: dict[str, int]) -> dict[str, dict[str, float]]:
    """Return the bytes of our arrangement, by what they are for and when they are held."""
    policy = trained(count["policy_trained"] + count["value_head"])
    by_prompt = args.prompt_tokens / args.samples_per_prompt
    sequence = args.prompt_tokens + args.new_tokens
    states = 0.0
    if args.freeze_layers:
        states = args.rollout * (by_prompt + args.new_tokens) + args.rollout / args.mini_batches * sequence
    return {
        "always": {
            "policy, frozen": 2 * (count["policy"] - count["policy_trained"]),
            "policy, trained, with value head": policy["weights"],
            "AdamW": policy["AdamW"],
            "reference": 2 * count["reference_top"],
            "reward model": 2 * count["reward_top"],
            "trunk states": states * 2 * args.hidden,
        },
        "sampling": {
            "copies of weights": 2 * count["policy_trained"],
            "keys and values": key_value_bytes(args, args.samples_per_prompt),
        },
        "training": {
            "gradients": policy["gradients"],
            "copies of weights": 2 * count["policy_trained"],
            "activations": activations(args, args.micro_batch),
            "logits": 6 * args.micro_batch * (args.new_tokens + 1) * args.vocab,
        },
    }


def separate(args: argparse.Namespace, count: dict[str, int]) -> dict[str, dict[str, float]]:
    """Return the same for four models that share nothing."""
    policy, value = trained(count["policy_trained"]), trained(count["classifier_trained"])
    tokens = args.micro_batch * (args.prompt_tokens + args.new_tokens)
    return {
        "always": {
            "policy, frozen": 2 * (count["policy"] - count["policy_trained"]),
            "policy, trained": policy["weights"],
            "value model, frozen": 2 * (count["classifier"] - count["classifier_trained"]),
            "value model, trained": value["weights"],
            "AdamW": policy["AdamW"] + value["AdamW"],
            "reference": 2 * count["policy"],
            "reward model": 2 * count["classifier"],
        },
        "sampling": {
            "keys and values": key_value_bytes(args, 1),
            "logits of the rollout": 4 * args.rollout * args.new_tokens * args.vocab,
        },
        "training": {
            "gradients": policy["gradients"] + value["gradients"],
            "copies of weights": 2 * (count["policy_trained"] + count["classifier_trained"]),
            "activations": 2 * activations(args, args.micro_batch),
            "hidden states": 4 * (args.layers + 1) * args.hidden * tokens,
            "logits": 6 * tokens * args.vocab,
        },
    }


def peak(parts: dict[str, dict[str, float]]) -> float:
    always, sampling, training = (sum(part.values()) for part in parts.values())
    return always + max(sampling, training)


def check_parameters(args: argparse.Namespace, count: dict[str, int]) -> dict[str, list[int]]:
    """Return the counts of real models beside ours."""
    found = {}
    with torch.device("meta"):
        models = {"policy": LlamaForCausalLM(config(args)), "classifier": LlamaForSequenceClassification(config(args))}
    for name, model in models.items():
        freeze_layers(model, args.freeze_layers)
        found[name] = [count[name], sum(p.numel() for p in model.parameters())]
        of_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        found[f"{name}_trained"] = [count[f"{name}_trained"], of_trained]
    return found


def small_model(args: argparse.Namespace) -> argparse.Namespace:
    """Return the settings of a small model with the same ratios, of which half is trained."""
    small = argparse.Namespace(**vars(args))
    group = args.heads // args.kv_heads
    small.kv_heads = min(args.kv_heads, max(2, 8 // group))
    small.heads, small.head_size, small.layers, small.freeze_layers = small.kv_heads * group, 64, 4, 0.5
    small.hidden = small.heads * small.head_size
    small.intermediate = round(small.hidden * args.intermediate / args.hidden)
    small.vocab, small.prompt_tokens, small.new_tokens = 64, 100, 4
    return small


def check_activations(args: argparse.Namespace) -> list[int]:
    """Return the bytes of our formula and those that autograd keeps, both for a small model."""
    small, batch = small_model(args), 4
    policy = LlamaForCausalLM(config(small)).to(torch.bfloat16)
    depth, copies = freeze_layers(policy, small.freeze_layers), 0
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            copies += 2 * parameter.numel() * (parameter.dim() == 2)
    model = PolicyWithValue(policy, ScalarHead(small.hidden), temperature=1.0, depth=depth).train()
    if args.gradient_checkpointing:
        model.activation_checkpointing_enable()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    width = small.prompt_tokens + small.new_tokens
    ids, mask = torch.ones(batch, width, dtype=torch.int64), torch.ones(batch, width, dtype=torch.bool)
    mask[0, 0] = False  # as in most batches, which sends attention another way than none
    parts = [tensor.split([small.prompt_tokens, small.new_tokens], dim=1) for tensor in (ids, mask)]
    tokens = [tensor for pair in zip(*parts, strict=True) for tensor in pair]
    states = torch.randn(batch, width, small.hidden).bfloat16()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(*tokens, states)
    logits = 2 * batch * (small.new_tokens + 1) * small.vocab
    counted = sum(storage.nbytes() for storage in kept.values()) - logits
    if not args.gradient_checkpointing:
        return [activations(small, batch), counted - copies]
    # The layer that is computed again is not there yet.
    again = argparse.Namespace(**{**vars(small), "gradient_checkpointing": False})
    return [activations(small, batch) - activations(again, batch) // trained_layers(small), counted]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the record, in GiB."""
    count = parameters(args)
    found = {"shared": shared(args, count), "separate": separate(args, count)}
    checks = {**check_parameters(args, count), "activations_of_a_small_model": check_activations(args)}
    of_activations = checks["activations_of_a_small_model"]
    exact = all(ours == real for name, (ours, real) in checks.items() if name != "activations_of_a_small_model")
    record: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/ppo_memory.py", *sys.argv[1:]]),
        "settings": {name: value for name, value in vars(args).items() if name != "json"},
        "parameters": count,
        "checks": {name: {"formula": ours, "real": real} for name, (ours, real) in checks.items()},
        "checked": exact and abs(of_activations[0] / of_activations[1] - 1) < TOLERANCE,
    }
    for name, parts in found.items():
        gib = {when: {what: round(n / GIB, 3) for what, n in part.items()} for when, part in parts.items()}
        total = peak(parts) / GIB
        fits = total + args.reserve <= args.device_gib
        record[name] = {**gib, "peak": round(total, 2), "fits": fits}
    return record


def main() -> int:
    args = parse_args()
    record = measure(args)
    if args.json:
        print(json.dumps(record))
        return int(not record["checked"])
    print(f"{'GiB':44}{'shared':>10}{'separate':>10}")
    for when in ("always", "sampling", "training"):
        print(when)
        for what in dict.fromkeys([*record["shared"][when], *record["separate"][when]]):
            cells = (record[side][when].get(what) for side in ("shared", "separate"))
            print(f"  {what:42}" + "".join(f"{'':>10}" if cell is None else f"{cell:10.2f}" for cell in cells))
    print(f"{'peak':44}" + "".join(f"{record[side]['peak']:10.2f}" for side in ("shared", "separate")))
    verdicts = ("yes" if record[side]["fits"] else "no" for side in ("shared", "separate"))
    question = f"fits {args.device_gib:g} GiB with {args.reserve:g} for the rest"
    print(f"{question:44}" + "".join(f"{verdict:>10}" for verdict in verdicts))
    print("checked against real models:", "equal" if record["checked"] else "DIFFERENT")
    for name, check in record["checks"].items():
        print(f"  {name:42}{check['formula']:>16,}{check['real']:>16,}")
    return int(not record["checked"])


if __name__ == "__main__":
    sys.exit(main())
