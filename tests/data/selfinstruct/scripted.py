"""A model that writes instructions by a script: what it says depends on the prompt alone."""

from __future__ import annotations

import hashlib
import random
from typing import Any

VERBS = ("Describe", "Compare", "Summarise", "Explain", "Rewrite", "Translate", "List", "Count", "Rank", "Praise")
THINGS = ("a river", "two moons", "an old song", "the tax form", "a bad joke", "this proof", "my garden", "a recipe")
WAYS = ("for a child", "in one word", "as a poem", "with three reasons", "without verbs", "in plain terms", "by mail")

BEGINNINGS = ("Here is a list of", "Say of every task", "Every task is shown")
"""How the prompts of a run begin."""

SEEDS: list[dict[str, Any]] = [
    {
        "id": f"s{number}",
        "instruction": text,
        "is_classification": number % 2 == 0,
        "instances": [{"input": f"case {number}", "output": f"answer {number}"}],
    }
    for number, text in enumerate(
        (
            "Tell whether the animal can fly.",
            "Write a short letter to the person that is named.",
            "Is this number prime or not?",
            "Give three synonyms of the word below.",
            "Say which of both teams has won the match.",
            "Plan a day in the city that the traveller visits.",
            "Which language is the sentence written in?",
            "Correct the spelling of this paragraph.",
        )
    )
]


def answer(prompt: Any) -> str:
    """Return what the scripted model says to a prompt: text that goes on, or a chat model's answer."""
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    draw = random.Random(hashlib.sha256(text.encode()).hexdigest())
    if text.startswith("Here is a list"):
        first = 1 + sum(line[:1].isdigit() for line in text.split("\n")) - isinstance(prompt, str)
        items = [
            f"{draw.choice(VERBS)} {draw.choice(THINGS)} {draw.choice(WAYS)}.",
            f"{draw.choice(VERBS)} {draw.choice(THINGS)} {draw.choice(WAYS)}.",
            draw.choice(SEEDS)["instruction"],
            f"Draw {draw.choice(THINGS)} {draw.choice(WAYS)}.",
            "Too short.",
        ]
        listed = "\n".join(f"{number}. {item}" for number, item in enumerate(items, start=first))
        return listed if not isinstance(prompt, str) else listed.removeprefix(f"{first}.")
    chat = not isinstance(prompt, str)
    if text.startswith("Say of every task"):
        return draw.choice(("yes", "no", "No.", "**Yes**", "maybe"))
    number = draw.randrange(1000)
    if "first the label" in text:
        said = (
            f"Label: good\nInput: nice {number}\nLabel: bad\nInput: awful {number}\nLabel: good\nInput: awful {number}"
        )
        return said if chat else said.removeprefix("Label:")
    said = f"Input: {number}\nOutput: {number + 1}\n\nExample 2\nInput: none\nOutput: {number}\nInput: 5\nOutput:"
    return said if chat else said.removeprefix("Input:")


def model(prompts: list[Any]) -> list[str]:
    """Answer every prompt."""
    return [answer(prompt) for prompt in prompts]
