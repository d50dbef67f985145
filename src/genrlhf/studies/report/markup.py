"""Texts, names and elements as HTML, in which nothing is markup that is not ours."""

from __future__ import annotations

from html import escape

from genrlhf.errors import printable
from genrlhf.metrics.checks import whole_characters

__all__ = ["element", "name", "scrolling", "text"]


def text(value: object) -> str:
    """Return a text as HTML, with what a reader would not see shown as Python's `repr` does."""
    return escape(printable(whole_characters(str(value))))


def name(value: object) -> str:
    """Return a name as HTML that keeps its direction of writing to itself."""
    return f"<bdi>{text(value)}</bdi>"


def element(tag: str, *content: str, **attributes: object) -> str:
    """Return an element.

    Args:
        tag: its name.
        content: HTML.
        attributes: their values are text; `_` stands for `-` in their names, which may end in one; None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{given}>{''.join(content)}</{tag}>"


def scrolling(label: str, *content: str) -> str:
    """Return a box that scrolls by itself where what is in it is wider than the page, by keyboard too."""
    shown = printable(whole_characters(label))
    return element("div", *content, class_="scroll", tabindex=0, role="region", aria_label=shown)
