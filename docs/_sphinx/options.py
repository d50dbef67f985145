"""The directive `command-options`: usage and options of a command, from the parser that reads them."""

from __future__ import annotations

import argparse
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from genrlhf.cli.main import build_parser


def parser_of(words: list[str]) -> argparse.ArgumentParser:
    """Return the parser of a command, such as `["judge", "run"]`.

    Raises:
        KeyError: there is none.
    """
    parser: argparse.ArgumentParser = build_parser()
    for word in words:
        (inner,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = inner.choices[word]
    return parser


class CommandOptions(SphinxDirective):
    """What a command is for, and its options; the argument is the words of the command."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        parser = parser_of(self.arguments[0].split())
        formatter = parser._get_formatter()
        found: list[nodes.Node] = [_as_typed(parser.description or "")]
        for group in parser._action_groups:
            actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
            if not actions:
                continue
            found.append(nodes.rubric(text=(group.title or "").capitalize()))
            if group.description:
                found.append(_as_typed(group.description))
            listed = nodes.definition_list()
            for action in actions:
                listed += _item(action, formatter)
            found.append(listed)
        return found


def _item(action: argparse.Action, formatter: argparse.HelpFormatter) -> nodes.definition_list_item:
    term = nodes.term()
    words = formatter._format_action_invocation(action)
    term += nodes.literal(text=words)
    told = formatter._expand_help(action) if action.help else ""
    return nodes.definition_list_item("", term, nodes.definition("", _as_typed(told)))


def _as_typed(text: str) -> nodes.paragraph:
    """Return a paragraph in which `--option` stays two hyphens."""
    return nodes.paragraph(text=text, support_smartquotes=False)


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
