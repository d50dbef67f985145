"""The record of a study or a comparison: `results.json`, which the report reads."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import NotRequired, TypedDict

from genrlhf.data.files import replacing
from genrlhf.errors import DataError
from genrlhf.json_text import parse_json
from genrlhf.studies.results_check import FORMAT, VERSION, check_kind, check_record
from genrlhf.types import Estimate

__all__ = [
    "FILE_NAME",
    "FORMAT",
    "GIVEN",
    "VERSION",
    "Curve",
    "CurvePoint",
    "Figures",
    "MethodResults",
    "OutputsOf",
    "Results",
    "diversity_of",
    "from_json",
    "quality_of",
    "read_results",
    "temperature_key",
    "to_json",
    "write_results",
]

FILE_NAME = "results.json"

GIVEN = "given"
"""Stands for the temperature of outputs that were given, and not drawn here."""


class Figures(TypedDict, total=False):
    """What was measured of one method at one temperature; what there is nothing to make from is left out.

    Attributes:
        pvr: by evaluation set, the share of inputs on which the judge prefers the first output to the reference.
        gap: pvr of the first set less that of `ood`.
        gaps: the same for every other set.
        gap_per_shift: by measure of the shift, how much the gap grows with it, where there are several other sets.
        reward: by set, mean reward of the first outputs.
        gold: by set, mean true score of the first outputs.
        kl: nats an output from the reference model.
        forgetting: on texts, in nats a token: "base_loss" of the model that it comes from, "loss", their difference
            "increase", "forward_kl" from that model.
        pass_at_k: by k, the share of inputs that one of k outputs solves, where something says which outputs are right.
        solutions: of right outputs: "distinct_valid", "yield", "exp_entropy", "effective_diversity".
        crossing: from how many outputs on the method `base` solves more: "k", "ci", "crossed", "max_k", "n" as of
            `CrossingPoint`.
        diversity: `{"per_input": {METRIC: Estimate}, "across_input": {METRIC: Estimate}}`.
        seeds: by seed of training, the same figures of that seed alone.
    """

    pvr: dict[str, Estimate]
    gap: Estimate
    gaps: dict[str, Estimate]
    gap_per_shift: dict[str, Estimate]
    reward: dict[str, Estimate]
    gold: dict[str, Estimate]
    kl: Estimate
    forgetting: dict[str, Estimate]
    pass_at_k: dict[str, Estimate]
    solutions: dict[str, Estimate]
    crossing: dict[str, Any]
    diversity: dict[str, dict[str, Estimate]]
    seeds: dict[str, Any]


class MethodResults(TypedDict):
    """One method.

    Attributes:
        label: what tables and plots call it.
        paper: where it comes from; empty where there is nothing to name.
        loop: "supervised", "sample_and_tune", "rollout", or what the method says; empty where nothing was trained.
        free: whether it is a control that costs no training.
        temperatures: figures by sampling temperature (see `temperature_key`).
    """

    label: str
    paper: str
    loop: str
    free: bool
    temperatures: dict[str, Figures]


class CurvePoint(TypedDict):
    """A method at one temperature on the plane of quality and diversity.

    Attributes:
        temperature: a key of the method's `temperatures`.
        quality: see `quality_of`.
        diversity: see `diversity_of`.
        on_front: no other point has both at least its quality and at least its diversity, and one of them higher.
        dominated_by: free controls of which a point is better in both, beyond the intervals of the differences.
    """

    temperature: str
    quality: Estimate
    diversity: Estimate
    on_front: bool
    dominated_by: NotRequired[list[str]]


class Curve(TypedDict):
    """A method's points, by rising temperature.

    Attributes:
        points: those with both figures.
        at_reference_quality: diversity where the curve has the quality of the reference method; None where it does not
            have it, or where there is no reference.
        why_not: why that is None; None where it is not.
        dominated_by: free controls that dominate every one of its points.
    """

    points: list[CurvePoint]
    at_reference_quality: Estimate | None
    why_not: NotRequired[str | None]
    dominated_by: list[str]


class OutputsOf(TypedDict):
    """A file of outputs, JSONL with `prompt`, `outputs` and maybe `reference` a row.

    Attributes:
        method: a name in `methods`.
        temperature: a key of its `temperatures`.
        seed: of training; None where there is none.
        set: the evaluation set.
        file: relative to the folder that `results.json` lies in, with `/` between folders.
        sha256: of the file when the results were written, which `write_results` adds.
    """

    method: str
    temperature: str
    seed: int | None
    set: str
    file: str
    sha256: NotRequired[str]


class Results(TypedDict):
    """What `results.json` holds, with an `Estimate` for every figure.

    Attributes:
        title: in one line.
        sets: evaluation sets, the one in distribution first.
        quality: which figure is the quality of the plane ("pvr", "gold", "reward"); None where there is none.
        diversity: which one is its diversity, such as "per_input.ead"; None where there is none.
        reference: the method whose quality the others are compared at.
        methods: by name.
        curves: by name of the method.
        outputs: where what was drawn lies.
        warnings: a sentence each.
        settings: what was asked for.
        versions: of the packages behind it.
        seconds: that it took.
        shifts: by set, how far it is from the first one, by measure ("words", "length", "embedding"; see
            `genrlhf.metrics.Shift`), empty for a single set.
        stages: the seconds of every stage, by name, where there are stages.
    """

    title: str
    sets: list[str]
    quality: str | None
    diversity: str | None
    reference: str | None
    methods: dict[str, MethodResults]
    curves: dict[str, Curve]
    outputs: list[OutputsOf]
    warnings: list[str]
    settings: dict[str, Any]
    versions: dict[str, str]
    seconds: float
    shifts: NotRequired[dict[str, dict[str, Estimate]]]
    stages: NotRequired[dict[str, float]]


def temperature_key(temperature: float | None) -> str:
    """Return what a temperature is called in `results.json`; None is that of outputs that were given.

    Example:
        >>> temperature_key(1), temperature_key(0.7), temperature_key(None)
        ('1.0', '0.7', 'given')
    """
    return GIVEN if temperature is None else repr(float(temperature))


def quality_of(figures: Figures, quality: str | None, name: str) -> Estimate | None:
    """Return the quality on one evaluation set: of the first outputs, higher is better; None where it was not measured.

    Args:
        figures: of a method at a temperature.
        quality: "pvr", "gold" or "reward".
        name: of the set.
    """
    of_sets = figures.get(quality) if quality else None
    found = of_sets.get(name) if isinstance(of_sets, Mapping) else None
    return found if isinstance(found, Estimate) else None


def diversity_of(figures: Figures, diversity: str | None) -> Estimate | None:
    """Return a figure of diversity by its name, such as "per_input.ead"; None where it was not measured."""
    level, _, metric = (diversity or "").partition(".")
    return figures.get("diversity", {}).get(level, {}).get(metric)


def to_json(value: Any, *, values: bool = False) -> Any:
    """Return figures as JSON can hold them: estimates as their dictionaries, None for NaN and infinite numbers.

    Args:
        value: estimates in dictionaries and lists.
        values: keep the per-unit values of estimates, as a stage's own record does for paired figures.
    """
    if isinstance(value, Estimate):
        found = to_json(value.to_dict())
        return {**found, "values": to_json(value.values.tolist())} if values else found
    if isinstance(value, Mapping):
        return {str(name): to_json(one, values=values) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(one, values=values) for one in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return to_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def from_json(value: Any) -> Any:
    """Return the same with an `Estimate` for every dictionary that is one, NaN for None in it.

    Without "values", those of the estimate are an empty array.
    """
    if isinstance(value, Mapping):
        if {"value", "stderr", "ci", "n"} <= set(value) <= {"value", "stderr", "ci", "n", "values"}:
            return _estimate(value)
        return {name: from_json(one) for name, one in value.items()}
    return [from_json(one) for one in value] if isinstance(value, list) else value


def _estimate(given: Mapping[str, Any]) -> Any:
    """Return the estimate, or what was given where it is none."""
    ends, units = given["ci"], given.get("values", [])
    lists = isinstance(ends, list) and len(ends) == 2 and isinstance(units, list)
    if not lists or not isinstance(given["n"], int) or isinstance(given["n"], bool) or given["n"] < 0:
        return dict(given)
    numbers = [given["value"], given["stderr"], *ends, *units]
    if not all(one is None or (isinstance(one, (int, float)) and not isinstance(one, bool)) for one in numbers):
        return dict(given)
    try:
        value, stderr, low, high, *of_units = (math.nan if one is None else float(one) for one in numbers)
    except OverflowError:
        return dict(given)
    return Estimate(value, stderr, (low, high), given["n"], np.array(of_units, dtype=np.float64))


def write_results(results: Results, folder: str | Path, *, home: str | Path | None = None) -> Path:
    """Write `results.json` in `folder`, whole or not at all, and return its path.

    The files of outputs that are there are listed with their digests, so that a reader knows when they have changed.

    Args:
        results: what is written.
        folder: where.
        home: what the files of outputs are relative to, where `results.json` is to be moved there later; by default
            `folder`.

    Raises:
        DataError: for what `read_results` would not read.
    """
    file = Path(folder) / FILE_NAME
    record = {"format": FORMAT, "version": VERSION, **to_json(results)}
    _parsed(_encoded(record), str(file))
    for entry in record["outputs"]:
        outputs = (file.parent if home is None else Path(home)) / entry["file"]
        if outputs.is_file():
            entry["sha256"] = _digest(outputs)
    with replacing(file) as partial:
        partial.write_bytes(_encoded(record))
    return file


def _encoded(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_results(path: str | Path) -> Results:
    """Read `results.json`.

    Args:
        path: the file, or the folder that it lies in.

    Raises:
        DataError: there is none, it is no JSON, of another kind or a later version, or a part is missing or damaged.
    """
    file = Path(path).expanduser()
    file = file / FILE_NAME if file.is_dir() else file
    if not file.is_file():
        raise DataError(
            f"{file} does not exist; give the output folder of genrlhf study, compare or demo, which writes "
            f"{FILE_NAME} at its end."
        )
    return _parsed(file.read_bytes(), str(file))


def _parsed(data: bytes, name: str) -> Results:
    record = parse_json(data, name)
    check_kind(record, name)
    try:
        found = {key: from_json(one) if key in ("methods", "curves", "shifts") else one for key, one in record.items()}
    except RecursionError as error:
        raise DataError(f"{name} is nested too deep; it is no record that genrlhf wrote.") from error
    check_record(found, name)
    return {key: one for key, one in found.items() if key not in ("format", "version")}  # type: ignore[return-value]
