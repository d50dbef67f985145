"""What an answer says: instructions, yes or no, instances. Answers are anyone's text: bounded, and never run."""

from __future__ import annotations

import re

from genrlhf.data.selfinstruct.prompts import NO_INPUT
from genrlhf.data.selfinstruct.seeds import Instance

__all__ = ["listed", "said_yes", "written_instances"]

LONGEST_ANSWER = 65_536
"""Characters of an answer that are read."""

MOST_ITEMS = 256
"""Instructions or instances of an answer that are read."""

_NUMBERED = re.compile(r"[ \t]{0,8}[*_#]{0,4} {0,2}(\d{1,4}) {0,2}[.):、．][*_]{0,3}(?: |\t|$|(?=[^\d\s]))")
_MARK = re.compile(
    r"[ \t]{0,8}[*_#>-]{0,4} {0,2}(?:"
    r"(input|output|class label|label|task)(?: {0,2}\d{1,4})?(?:[*_]{0,3} {0,2}[:：][*_]{0,3}|[*_]{0,3}[ \t]{0,4}$)"
    r"|(example)(?: {0,2}\d{1,4})? {0,2}[*_.:：]{0,5}[ \t]{0,4}$)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_NOTHING = {NO_INPUT, "n/a", "noinput", "no input", "not applicable", "no input needed", "no input required"}


def listed(text: str, opening: str = "") -> list[str]:
    r"""Return the items of a numbered list, each on one line, without what stands before the first number.

    Args:
        text: an answer.
        opening: what the prompt ended with and the answer continues, such as "9.".

    Example:
        >>> listed(" Name a bird.\n10. Sum\nthem up.", "9.")
        ['Name a bird.', 'Sum them up.']
        >>> listed("Sure!\n\n**1.** Name a bird.")
        ['Name a bird.']
    """
    items: list[list[str]] = []
    for line in _lines(opening + text):
        if (mark := _NUMBERED.match(line)) is not None:
            if len(items) == MOST_ITEMS:
                break
            items.append([line[mark.end() :]])
        elif items:
            items[-1].append(line)
    return [item for lines in items if (item := " ".join(" ".join(lines).split()))]


def said_yes(text: str) -> bool | None:
    """Return whether an answer says yes or no in its first word; None where it says neither.

    Example:
        >>> [said_yes(text) for text in (" Yes.", "**No**, it is not.", "Maybe yes")]
        [True, False, None]
    """
    first = _WORD.search(text[:256])
    return {"yes": True, "no": False}.get(first[0].lower()) if first else None


def written_instances(text: str, *, label_first: bool, opening: str = "") -> list[Instance | None]:
    r"""Return the instances of an answer in their order, None for one that lacks its input or its output.

    Lines that begin with "Input:", "Output:" or "Label:" open a field, which lasts until the next one; "Example" and
    its number, and an output where labels come first, open nothing; "Task:" ends what is read.

    Args:
        text: an answer.
        label_first: whether an instance is a label and then its input; otherwise an input and then its output.
        opening: what the prompt ended with and the answer continues, such as "Input:".

    Example:
        >>> two = " 2 3\nOutput: 5\n\nExample 2\nInput: none\nOutput: 0"
        >>> written_instances(two, label_first=False, opening="Input:")
        [Instance(input='2 3', output='5'), Instance(input='', output='0')]
        >>> written_instances(" bad\nInput: I hate it.\nLabel: good", label_first=True, opening="Label:")
        [Instance(input='I hate it.', output='bad'), None]
    """
    first, second = ("label", "input") if label_first else ("input", "output")
    found: list[dict[str, list[str]]] = []
    field: list[str] | None = None
    for line in _lines(opening + text):
        mark = _MARK.match(line)
        if mark is None:
            if field is not None:
                field.append(line)
            continue
        name = (mark[1] or mark[2]).lower().replace("class ", "")
        if name == "task":
            break
        if name not in (first, second):
            field = None
            continue
        if name == first or not found or name in found[-1]:
            if len(found) == MOST_ITEMS:
                break
            found.append({})
        field = found[-1][name] = [line[mark.end() :]]
    # An output needs no input only where no other has one, and a label always needs one.
    needed = {first, second} if label_first or any("input" in fields for fields in found) else {second}
    return [_instance(fields, first if label_first else second) if needed <= {*fields} else None for fields in found]


def _instance(fields: dict[str, list[str]], output: str) -> Instance:
    texts = {name: "\n".join(lines).strip() for name, lines in fields.items()}
    given = texts.get("input", "")
    return Instance("" if given.strip(" .<>()[]\"'`").lower() in _NOTHING else given, texts[output])


def _lines(text: str) -> list[str]:
    # Half of a surrogate pair, which a model may write, is no text for a tokenizer that is to read it in a prompt.
    whole = text[:LONGEST_ANSWER].encode("utf-8", "replace").decode()
    return whole.replace("\r\n", "\n").split("\n")
