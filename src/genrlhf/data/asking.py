"""How a model is to be asked, where that is not by the prompt alone: kept in its folder, read by whoever samples."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genrlhf.data.chat import ChatPrompt, Prompt
from genrlhf.errors import DataError, ModelError

__all__ = ["ASKING_FILE", "Asking", "asking_of"]

ASKING_FILE = "genrlhf_asking.json"


@dataclass(frozen=True)
class Asking:
    """What stands around a prompt when the model is asked; metrics, judges and rewards see the prompt without it.

    Attributes:
        before: in front of a text, or of the last message.
        after: behind it.

    Example:
        >>> Asking(after=" Answer well:")("What is it?")
        'What is it? Answer well:'
    """

    before: str = ""
    after: str = ""

    def __call__(self, prompt: Prompt) -> Prompt:
        """Return the prompt as the model is asked."""
        if isinstance(prompt, str):
            return f"{self.before}{prompt}{self.after}"
        if isinstance(prompt, ChatPrompt):
            return replace(prompt, messages=self._messages(prompt.messages))
        return self._messages(prompt)

    def _messages(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        last = messages[-1]
        content = last.get("content")
        if isinstance(content, list):
            parts = [({"type": "text", "text": text} if text else None) for text in (self.before, self.after)]
            content = [part for part in (parts[0], *content, parts[1]) if part is not None]
        else:
            content = f"{self.before}{content}{self.after}"
        return [*messages[:-1], {**last, "content": content}]

    def __str__(self) -> str:
        return f"{self.before}{{prompt}}{self.after}"

    def save(self, folder: str | Path) -> None:
        """Write it beside a model."""
        (Path(folder) / ASKING_FILE).write_text(json.dumps(asdict(self), ensure_ascii=False) + "\n", encoding="utf-8")


def asking_of(model: str | Path) -> Asking | None:
    """Return how the model of a name or in a folder is to be asked; None where by its prompts alone.

    Raises:
        ModelError: for a file that does not say it.
    """
    file = Path(model).expanduser() / ASKING_FILE
    if not file.is_file():
        return None
    try:
        found = Asking(**json.loads(file.read_text(encoding="utf-8")))
        if not all(isinstance(value, str) for value in asdict(found).values()):
            raise DataError("a text is wanted")
    except (ValueError, TypeError, DataError) as error:
        raise ModelError(
            f"{file} does not say how the model is asked: {error}. It is "
            '{"before": TEXT, "after": TEXT}; mend it, or remove it.'
        ) from error
    return found
