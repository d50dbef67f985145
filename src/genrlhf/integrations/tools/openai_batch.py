"""The output files of OpenAI's batches, and of `vllm run-batch`, which are alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping, message_text, plain_messages

__all__ = ["OPENAI_BATCH", "batch_prompt"]


def _recognise(record: Any) -> bool:
    return isinstance(record, dict) and "custom_id" in record and bool({"response", "body"} & set(record))


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        if not isinstance(row.get("custom_id"), str) or not ("response" in row or "error" in row):
            what = "is a request of a batch" if "body" in row else f"is {excerpt(record)}"
            raise DataError(f"{where} {what}; give the output of the batch, and its input with --prompts (prompts=).")
        yield Sample(place, record, _outputs(row.get("response"), where), input_id=row["custom_id"])


def _outputs(response: Any, where: str) -> list[str | None]:
    """Return the texts of all choices of a response; None for a request that failed, or an answer without text."""
    body = response.get("body") if isinstance(response, dict) else None
    if not isinstance(body, dict) or response.get("status_code", 200) != 200:
        return [None]
    if isinstance(body.get("choices"), list):
        choices = [mapping(choice, where) for choice in body["choices"]]
        choices.sort(key=lambda choice: choice["index"] if isinstance(choice.get("index"), int) else 0)
        return [_text(choice) for choice in choices] or [None]
    if isinstance(body.get("output"), list):
        # The responses API: messages among thinking and calls of tools.
        messages = [one for one in body["output"] if isinstance(one, dict) and one.get("type") == "message"]
        texts = [text for one in messages if (text := message_text(one.get("content"))) is not None]
        return ["".join(texts) if texts else None]
    if "error" in body:
        return [None]
    raise DataError(f"{where} has no 'choices' and no 'output' in its body; give a batch of completions or responses.")


def _text(choice: Mapping[str, Any]) -> str | None:
    if isinstance(choice.get("text"), str):
        return str(choice["text"])
    message = choice.get("message")
    return message_text(message.get("content")) if isinstance(message, dict) else None


def batch_prompt(request: Mapping[str, Any], where: str) -> Any:
    """Return the prompt of a line of a batch's input: text, or messages.

    Raises:
        DataError: there is none, or there are several.
    """
    body = request.get("body")
    asked = next((body[name] for name in ("messages", "prompt", "input") if name in body), None) if body else None
    if isinstance(asked, list) and len(asked) == 1 and isinstance(asked[0], str):
        return asked[0]
    prompt = plain_messages(asked)
    if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], dict)):
        return prompt
    raise DataError(f"{where} asks {excerpt(asked)}; give requests with one prompt each, as text or messages.")


OPENAI_BATCH = OutputsFormat(
    "openai_batch",
    'outputs of OpenAI\'s batches and of vllm run-batch: "custom_id" and "response", all choices',
    _recognise,
    _read,
)
