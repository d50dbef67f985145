"""The class score of CoOp CARP as a reward: a policy comes to write the style that is asked for, and little else.

Passages are 8 words and critiques 3, of two styles that have 10 words each; 4 of 5 words of a passage are of its own
style. Encoders of both learn from pairs which belong together, context from 20 passages with labels, and a policy that
draws words by themselves is paid for the class of a passage.
"""

from __future__ import annotations

import torch
from benchmarks.toys._bandit import effective
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._model import character_tokenizer
from transformers import BertConfig, BertModel

from genrlhf.models.carp import CARPModel, ClassNames, class_names
from genrlhf.models.encoders import Encoder
from genrlhf.ops import class_logits, contrastive_losses, soft_cross_entropy

STYLES = ("abcdefghij", "klmnopqrst")
CRITIQUES = ("ABCDE", "FGHIJ")
NAMES = ("A", "F")
BATCH = 64
BAR = (
    Claim("accuracy", "CoOp", "untrained encoders", at_least=0.95),
    Claim("target share", "CoOp", "base", at_least=0.95),
    Claim("target share", "CoOp", "untrained encoders", at_least=0.95),
    Claim("target share", "cosine to a critique", "base", at_least=0.9),
)
SMALL = {"steps": 250, "context_steps": 60, "policy_steps": 20}
SMALL_BAR = BAR[:1]


def run(seed: int, *, steps: int = 600, context_steps: int = 150, policy_steps: int = 300) -> Figures:
    """Return of each reward how often it knows the style of new passages, and what a policy makes of it.

    `target share` is the policy's share of words of the style, `words` the effective number of words that it writes.
    """
    generator = torch.Generator().manual_seed(seed)
    tokenizer = character_tokenizer("".join((*STYLES, *CRITIQUES)))
    torch.manual_seed(seed)
    untrained = _model(tokenizer)
    names = class_names(tokenizer, NAMES, max_length=None)
    model = _model(tokenizer)
    model.load_state_dict(untrained.state_dict())
    loss = _fit(model, steps, generator)
    labelled = _passages(torch.arange(20) % 2, generator)
    learnt = _learn_context(model, names, labelled, context_steps, generator)
    chance = {"accuracy": 0.5, "target share": 0.5, "words": 20.0}
    figures: dict[str, dict[str, float]] = {"base": dict(chance)}
    for arm, each in {"untrained encoders": untrained, "names of classes": model, "CoOp": learnt}.items():
        figures[arm] = _figures(each, each.encode_classes(names).detach(), False, seed, policy_steps)
    critique = model.encode("critique", *_tokens(["FGH"])).detach()
    figures["cosine to a critique"] = _figures(model, critique, True, seed, policy_steps)
    figures["cosine to a critique"].pop("accuracy")
    figures["CoOp"]["InfoNCE"] = loss
    return figures


def _model(tokenizer: object) -> CARPModel:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes))  # type: ignore[arg-type]
    both = [Encoder(encoder, tokenizer, "mean", "") for _ in range(2)]  # type: ignore[arg-type]
    return CARPModel.of(*both, latent_size=32, dropout=0.0).eval()


def _passages(styles: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the words, 0 to 19, of passages, (B, 8): of their style with a chance of 0.8."""
    own = torch.rand(len(styles), 8, generator=generator) < 0.8
    style = torch.where(own, styles.unsqueeze(1), 1 - styles.unsqueeze(1))
    return 10 * style + torch.randint(10, own.shape, generator=generator)


def _encoded(model: CARPModel, words: torch.Tensor) -> torch.Tensor:
    return model.encode("passage", words + 2, torch.ones_like(words, dtype=torch.bool))  # behind padding and EOS


def _tokens(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    everything = "".join((*STYLES, *CRITIQUES))
    ids = torch.tensor([[everything.index(letter) + 2 for letter in text] for text in texts])
    return ids, torch.ones_like(ids, dtype=torch.bool)


def _fit(model: CARPModel, steps: int, generator: torch.Generator) -> float:
    """Train encoders on pairs, and return the mean loss of the last 50 steps."""
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(steps):
        styles = torch.randint(2, (BATCH,), generator=generator)
        critiques = 22 + 5 * styles.unsqueeze(1) + torch.randint(5, (BATCH, 3), generator=generator)
        v = model.encode("critique", critiques, torch.ones_like(critiques, dtype=torch.bool))
        loss = contrastive_losses(_encoded(model, _passages(styles, generator)), v, model.log_scale).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return sum(losses[-50:]) / len(losses[-50:])


def _learn_context(
    model: CARPModel, names: ClassNames, passages: torch.Tensor, steps: int, generator: torch.Generator
) -> CARPModel:
    learning = model.with_context(10, NAMES).eval()
    units = _encoded(model, passages).detach()
    targets = torch.nn.functional.one_hot(torch.arange(len(passages)) % 2, 2).float()
    optimizer = torch.optim.Adam([learning.context], lr=1e-2)
    for _ in range(steps):
        some = torch.randperm(len(passages), generator=generator)[:16]
        logits = class_logits(units[some], learning.encode_classes(names), learning.log_scale)
        optimizer.zero_grad()
        soft_cross_entropy(logits, targets[some]).mean().backward()
        optimizer.step()
    return learning


@torch.no_grad()
def _rewards(model: CARPModel, goals: torch.Tensor, cosine: bool, words: torch.Tensor) -> torch.Tensor:
    units = _encoded(model, words)
    return units @ goals[0] if cosine else class_logits(units, goals, model.log_scale).log_softmax(-1)[:, 1]


def _figures(model: CARPModel, goals: torch.Tensor, cosine: bool, seed: int, steps: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(1000 + seed)
    styles = torch.arange(2000) % 2
    told = _rewards(model, goals, cosine, _passages(styles, generator)).exp() > 0.5
    logits = torch.zeros(20, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(steps):
        logp = logits.log_softmax(-1)
        drawn = torch.multinomial(logp.detach().exp(), 64 * 8, replacement=True, generator=generator).view(64, 8)
        rewards = _rewards(model, goals, cosine, drawn)
        gains = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
        optimizer.zero_grad()
        (-(gains * logp[drawn].sum(-1)).mean()).backward()
        optimizer.step()
    p = logits.detach().softmax(-1)
    accuracy = float((told.long() == styles).float().mean())
    return {"accuracy": accuracy, "target share": float(p[10:].sum()), "words": effective(p)}
