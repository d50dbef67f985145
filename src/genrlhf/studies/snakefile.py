"""The stages of a study as a Snakefile, which Snakemake runs on a machine, on Slurm or on Kubernetes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from genrlhf.errors import ConfigError
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Stage
from genrlhf.studies.record import RECORD

__all__ = ["snakefile"]

_HEAD = """# A study as genrlhf wrote it: a rule a stage. Run it with
#     snakemake --cores 2 --rerun-triggers mtime --snakefile THIS_FILE
# and write it again when the study has changed.


rule study:
    input:
        {results}
"""

_RULE = """

rule {rule}:
    input:
{inputs}
    output:
        {output}
    message:
        {message}
    shell:
        {shell}
"""


def snakefile(
    places: StudyFolder, command: Sequence[str], *, launcher: Sequence[str] = (), python: Sequence[str]
) -> str:
    """Return a Snakefile with a rule for every stage, and one that gathers the results.

    Args:
        places: of the stages.
        command: of `genrlhf`: "study", the file and its options.
        launcher: what stages that are `launched` are started with, in front of `-m genrlhf`; nothing for `python`.
        python: what starts Python.

    Raises:
        ConfigError: where a path has braces, which stand for something else in a Snakefile.
    """
    graph = places.graph
    names = {stage.name: f"stage_{number:03d}" for number, stage in enumerate(graph)}
    results = places.folder.resolve() / "results.json"

    def shell(stage: Stage | None) -> str:
        start = launcher if launcher and stage is not None and stage.launched else python
        words = [*start, "-m", "genrlhf", *command, *(["--only", stage.name] if stage is not None else [])]
        return f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}"

    def rule(rule: str, message: str, stage: Stage | None, needs: Sequence[Stage], output: Path) -> str:
        lines = [f"        {_quoted(_file(places, need))}," for need in needs]
        return _RULE.format(
            rule=rule,
            inputs="\n".join(lines) or "        [],",
            output=_quoted(output),
            message=_text(message),
            shell=_text(shell(stage)),
        )

    rules = [rule(names[stage.name], stage.name, stage, stage.needed, _file(places, stage)) for stage in graph]
    gathered = rule("results", "results", None, list(graph), results)
    return "".join([_HEAD.format(results=_quoted(results)), *rules, gathered])


def _file(places: StudyFolder, stage: Stage) -> Path:
    return places.of(stage).resolve() / RECORD


def _quoted(path: Path) -> str:
    if set(str(path)) & set("{}"):
        raise ConfigError(f"{path} has braces, which Snakemake reads as wildcards; choose an output folder without.")
    return repr(str(path))


def _text(text: str) -> str:
    """Return a literal that Snakemake's formatting leaves as it is."""
    return repr(text.replace("{", "{{").replace("}", "}}"))
