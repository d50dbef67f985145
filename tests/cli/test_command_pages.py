"""Every command has a page of its own, and every page a command."""

from __future__ import annotations

import argparse
import re

from genrlhf.cli.main import build_parser
from tests.cli.documented import ROOT

PAGES = ROOT / "docs" / "commands"


def commands(parser: argparse.ArgumentParser, before: str = "") -> set[str]:
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        return {before}
    return set().union(*(commands(one, f"{before} {name}".strip()) for name, one in inner[0].choices.items()))


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    described = {}
    for page in PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        (words,) = re.findall(r"^```{command-options} (.+)$", text, re.MULTILINE)
        assert page.stem == words.replace(" ", "-") and text.startswith(f"# genrlhf {words}\n")
        described[words] = page
    assert set(described) == commands(build_parser())


def test_the_list_of_commands_links_every_page() -> None:
    listed = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert {page.stem for page in PAGES.glob("*.md")} == set(re.findall(r"\(commands/([\w-]+)\.md\)", listed))
