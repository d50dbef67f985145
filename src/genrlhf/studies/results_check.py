"""What a reader of `results.json` relies on."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.types import Estimate

__all__ = ["FORMAT", "VERSION", "check_kind", "check_record"]

FORMAT = "genrlhf-results"
VERSION = 1

_BY_NAME = ("pvr", "gaps", "gap_per_shift", "reward", "gold", "forgetting", "pass_at_k", "solutions")


class _Part:
    """A part of the record under its name, so that what is wrong is said with its place."""

    def __init__(self, value: Any, file: str, path: str = "") -> None:
        self.value, self.file, self.path = value, file, path

    def refuse(self, wanted: str) -> DataError:
        what = self.path or "it"
        return DataError(
            f"{self.file}: {what} is {excerpt(self.value)}, not {wanted}; the file is damaged: run what wrote it again."
        )

    def of(self, kind: type | tuple[type, ...], wanted: str) -> Any:
        if not isinstance(self.value, kind) or (isinstance(self.value, bool) and kind is not bool):
            raise self.refuse(wanted)
        return self.value

    def __getitem__(self, name: str) -> _Part:
        fields = self.of(dict, "an object")
        path = f"{self.path}.{name}" if self.path else name
        if name not in fields:
            raise DataError(f"{self.file}: there is no {path}; the file is damaged: run what wrote it again.")
        return _Part(fields[name], self.file, path)

    def items(self) -> list[tuple[str, _Part]]:
        return [(name, self[name]) for name in self.of(dict, "an object")]

    def elements(self) -> list[_Part]:
        return [_Part(one, self.file, f"{self.path}[{number}]") for number, one in enumerate(self.of(list, "a list"))]


def check_kind(record: Any, file: str) -> None:
    """Raise `DataError` for what is no record of results, or one of another version."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(
            f'{file} is no record of results (its "format" is not {FORMAT!r}); give the output folder of genrlhf '
            "study, compare or demo."
        )
    if record.get("version") != VERSION:
        raise DataError(
            f"{file} is of version {excerpt(record.get('version'))}, and this genrlhf reads version {VERSION}; use the "
            "genrlhf that wrote it."
        )


def check_record(record: dict[str, Any], file: str) -> None:
    """Raise `DataError` for a record, with an `Estimate` for every figure, that lacks what a reader relies on."""
    part = _Part(record, file)
    part["title"].of(str, "a text")
    if not part["sets"].elements():
        raise part["sets"].refuse("a list of names")
    for name in part["sets"].elements():
        name.of(str, "a name")
    for name in (part["quality"], part["diversity"], part["reference"]):
        name.of((str, type(None)), "a name or null")
    _check_methods(part)
    _check_curves(part)
    for outputs in part["outputs"].elements():
        _check_outputs(outputs, part)
    for warning in part["warnings"].elements():
        warning.of(str, "a text")
    part["settings"].of(dict, "an object")
    for _, version in part["versions"].items():
        version.of(str, "a text")
    part["seconds"].of((int, float), "a number")
    for shifted, measures in part["shifts"].items() if "shifts" in record else []:
        if shifted not in record["sets"]:
            raise _Part(shifted, file, "a name in shifts").refuse(f"one of the sets ({', '.join(record['sets'])})")
        _check_estimates(measures)
    for _, seconds in part["stages"].items() if "stages" in record else []:
        seconds.of((int, float), "a number")


def _check_methods(part: _Part) -> None:
    methods = part["methods"]
    for _, method in methods.items():
        for name in ("label", "paper", "loop"):
            method[name].of(str, "a text")
        method["free"].of(bool, "true or false")
        for _, figures in method["temperatures"].items():
            _check_figures(figures)
            for _, seed in figures["seeds"].items() if "seeds" in figures.value else []:
                _check_figures(seed)
    reference = part["reference"]
    if reference.value is not None and reference.value not in methods.value:
        raise reference.refuse(f"one of the methods ({', '.join(methods.value)})")


def _check_figures(figures: _Part) -> None:
    for name, figure in figures.items():
        if name in ("gap", "kl"):
            figure.of(Estimate, "an estimate")
        elif name in _BY_NAME:
            _check_estimates(figure)
        elif name == "crossing":
            _check_crossing(figure)
        elif name == "diversity":
            for _, level in figure.items():
                _check_estimates(level)


def _check_crossing(part: _Part) -> None:
    part["base"].of(str, "a name")
    part["k"].of((int, type(None)), "a number or null")
    part["max_k"].of(int, "a number")
    part["crossed"].of((int, float), "a number")
    ends = part["ci"].elements()
    if len(ends) != 2:
        raise part["ci"].refuse("two ends")
    for end in ends:
        end.of((int, float, type(None)), "a number or null")


def _check_estimates(part: _Part) -> None:
    for _, estimate in part.items():
        estimate.of(Estimate, "an estimate")


def _check_curves(part: _Part) -> None:
    methods = part["methods"].value
    for name, curve in part["curves"].items():
        if name not in methods:
            raise _Part(name, part.file, "a curve").refuse(f"one of the methods ({', '.join(methods)})")
        for point in curve["points"].elements():
            if point["temperature"].of(str, "a temperature") not in methods[name]["temperatures"]:
                raise point["temperature"].refuse(f"a temperature of {name}")
            point["quality"].of(Estimate, "an estimate")
            point["diversity"].of(Estimate, "an estimate")
            point["on_front"].of(bool, "true or false")
        curve["at_reference_quality"].of((Estimate, type(None)), "an estimate or null")
        if "why_not" in curve.value:
            curve["why_not"].of((str, type(None)), "a text or null")
        for control in curve["dominated_by"].elements():
            if control.of(str, "a name") not in methods:
                raise control.refuse(f"one of the methods ({', '.join(methods)})")


def _check_outputs(outputs: _Part, part: _Part) -> None:
    methods = part["methods"].value
    method = outputs["method"].of(str, "a name")
    if method not in methods:
        raise outputs["method"].refuse(f"one of the methods ({', '.join(methods)})")
    if outputs["temperature"].of(str, "a temperature") not in methods[method]["temperatures"]:
        raise outputs["temperature"].refuse(f"a temperature of {method}")
    outputs["seed"].of((int, type(None)), "a seed or null")
    if outputs["set"].of(str, "a name") not in part["sets"].value:
        raise outputs["set"].refuse(f"one of the sets ({', '.join(part['sets'].value)})")
    if "sha256" in outputs.value:
        outputs["sha256"].of(str, "a digest")
    # What a foreign record names is read and shown by the report: nothing outside of its folder.
    file = outputs["file"].of(str, "a path")
    for path in (PurePosixPath(file), PureWindowsPath(file)):
        if not file or path.is_absolute() or path.drive or ".." in path.parts:
            raise outputs["file"].refuse("a path inside of the folder of the record")
