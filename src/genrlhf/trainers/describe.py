"""What a run was given, as JSON, so that two starts can be told apart: functions, objects, models, settings."""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
import json
import types
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from genrlhf.models.fingerprint import model_fingerprint, module_fingerprint, tokenizer_fingerprint
from genrlhf.rewards import WeightedReward
from genrlhf.rewards.affine import calibration_of
from genrlhf.rewards.calls import CallableReward
from genrlhf.rewards.model_reward import ModelReward
from genrlhf.trainers.state_files import keeps_state, learns_along
from genrlhf.types import HasSettings

__all__ = ["Description", "describe_model", "describe_reward"]

# Their functions are known by name: what a name means there changes with the version alone.
_LIBRARIES = frozenset("torch transformers trl peft accelerate datasets genrlhf builtins numpy math re".split())  # noqa: SIM905
_PLAIN = (type(None), bool, int, float, str)
_LONG = 200


def describe_model(model: Any) -> dict[str, Any] | None:
    """Return the name of a model, given by name, folder or module, and a digest by which it is known."""
    if model is None:
        return None
    if isinstance(model, torch.nn.Module):
        name = str(getattr(getattr(model, "config", None), "_name_or_path", "")) or type(model).__name__
        return {"name": name, "digest": module_fingerprint(model)}
    return {"name": str(model), "digest": model_fingerprint(str(model))}


def describe_reward(reward: Any, description: Description) -> Any:
    """Return what tells a reward from others: weights and calibration of a model, code and settings of a callable."""
    if isinstance(reward, WeightedReward):
        return [
            {"weight": weight, "reward": describe_reward(term, description)}
            for weight, term in zip(reward.weights, reward.rewards, strict=True)
        ]
    if isinstance(reward, ModelReward):
        gain, bias = calibration_of(reward.model.config)
        model = describe_model(reward.model) or {}
        return {**model, "gain": gain, "bias": bias, "max_length": reward.max_length}
    return description.of(reward.function if isinstance(reward, CallableReward) else reward)


class Description:
    """Describes values, and keeps the names of those that cannot be.

    Attributes:
        unknown: attributes and captured variables that may change unnoticed.

    Args:
        learnt: of an object that a checkpoint restores: weights, which it may have been made with by chance, say
            nothing.
    """

    def __init__(self, *, learnt: bool = False) -> None:
        self.learnt = learnt
        self.unknown: list[str] = []
        self._seen: set[int] = set()

    def of(self, value: Any) -> Any:
        """Return `value` as JSON: a simple value as it is, anything else as a mapping of what is known of it."""
        if isinstance(value, _PLAIN):
            return value
        if learns_along(value) and keeps_state(value) and not self.learnt:
            inner = Description(learnt=True)
            found = inner.of(value)
            self.unknown += inner.unknown
            return found
        if isinstance(value, torch.nn.Module):
            return _shapes(value) if self.learnt else describe_model(value)
        if isinstance(value, PreTrainedTokenizerBase):
            return {"name": value.name_or_path, "digest": tokenizer_fingerprint(value)}
        if isinstance(value, (torch.dtype, torch.device, Path, bytes)):
            return str(value)
        if isinstance(value, enum.Enum):
            return self.of(value.value)
        if isinstance(value, Mapping):
            return _short({str(key): self.of(item) for key, item in value.items()})
        if isinstance(value, (list, tuple)):
            return _short([self.of(item) for item in value])
        if isinstance(value, (set, frozenset)):
            return _short(sorted((self.of(item) for item in value), key=repr))
        if id(value) in self._seen:
            return _name(value)
        self._seen.add(id(value))
        return self._of_object(value)

    def _of_object(self, value: Any) -> Any:
        if isinstance(value, torch.optim.Optimizer):
            return {"name": _name(type(value)), "groups": [_simple(group) for group in value.param_groups]}
        if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
            return {"name": _name(type(value)), "lambdas": self.of(getattr(value, "lr_lambdas", None))}
        if _has_settings(value):
            return {"name": _name(value), "settings": self.of(value.settings())}
        if isinstance(value, functools.partial):
            return {"partial": self.of(value.func), "args": self.of(value.args), "keywords": self.of(value.keywords)}
        if isinstance(value, types.MethodType):
            method = {"method": value.__func__.__qualname__, "code": _code_digest(value.__func__)}
            return {**method, "object": self.of(value.__self__)}
        if isinstance(value, types.FunctionType):
            return self._of_function(inspect.unwrap(value))
        if isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType)):
            return _name(value)
        if dataclasses.is_dataclass(value):
            held = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
            return {"name": _name(value), "settings": self.of(held), **_code_of_call(type(value))}
        return self._of_instance(value)

    def _of_function(self, function: Any) -> Any:
        if _of_library(function):
            return f"{function.__module__}.{function.__qualname__}"
        found: dict[str, Any] = {"name": function.__name__, "code": _code_digest(function)}
        positional = function.__defaults__ or ()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = {**dict(zip(names[::-1], positional[::-1], strict=False)), **(function.__kwdefaults__ or {})}
        if defaults:
            found["defaults"] = self._held(defaults, ())
        changed = _stored(function.__code__)
        captured = self._held(_captured(function), changed)
        # A module's own objects (clients, tables, caches) are legion; its constants and functions are what counts.
        used = _named(function.__code__) & set(function.__globals__)
        constants = {name: function.__globals__[name] for name in used}
        kinds = (*_PLAIN, types.FunctionType)
        captured |= self._held({k: v for k, v in constants.items() if isinstance(v, kinds)}, changed)
        return {**found, "captured": captured} if captured else found

    def _of_instance(self, value: Any) -> Any:
        classes = [vars(kind).values() for kind in type(value).__mro__]
        methods = [item for members in classes for item in members if isinstance(item, types.FunctionType)]
        state = {name for item in methods if item.__name__ != "__init__" for name in _stored(item.__code__)}
        slots = [name for name in getattr(value, "__slots__", ()) if hasattr(value, name)]
        held = {**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})}
        return {"name": _name(value), "settings": self._held(held, state), **_code_of_call(type(value))}

    def _held(self, variables: Mapping[str, Any], changed: Iterable[str]) -> dict[str, Any]:
        """Describe variables that stay as they are; what may be changed by a call says nothing of the settings."""
        found = {}
        for name, value in sorted(variables.items()):
            if name in changed:
                continue
            if self.learnt and isinstance(value, (torch.Tensor, torch.Generator, torch.optim.Optimizer)):
                continue
            if _stays(value):
                found[name] = self.of(value)
            else:
                self.unknown.append(name)
        return found


def _shapes(module: torch.nn.Module) -> dict[str, Any]:
    """Describe a module whose weights are restored: by what it is made of, and what it does when it is called."""
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items() if hasattr(tensor, "shape")}
    forward = type(module).forward
    code = {} if _of_library(forward) else {"code": _code_digest(forward)}
    return {"name": _name(type(module)), "shapes": _short(shapes), **code}


def _code_of_call(kind: type) -> dict[str, str]:
    """Return a digest of what objects of a class do when they are called, unless that is a library's."""
    call = next((vars(each)["__call__"] for each in kind.__mro__ if "__call__" in vars(each)), None)
    known = isinstance(call, types.FunctionType) and not _of_library(call)
    return {"code": _code_digest(call)} if known else {}


def _stays(value: Any) -> bool:
    """Say whether a value can be described and is not of a kind that is filled while a run goes on."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_stays, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return True
    kinds = (torch.nn.Module, PreTrainedTokenizerBase, torch.dtype, torch.device, Path, enum.Enum, type)
    functions = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, functools.partial)
    return isinstance(value, (*_PLAIN, bytes, *kinds, *functions)) or _has_settings(value)


def _has_settings(value: Any) -> bool:
    return isinstance(value, HasSettings) and callable(value.settings) and not isinstance(value, type)


def _captured(function: Any) -> dict[str, Any]:
    """Return the variables of the functions around `function` that it uses."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {}
    for name, cell in cells:
        with suppress(ValueError):  # of a cell that is not filled yet
            found[name] = cell.cell_contents
    return found


def _named(code: types.CodeType) -> set[str]:
    """Return the names of attributes and globals that code uses, comprehensions and inner functions included."""
    inner = (_named(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*inner)


def _stored(code: types.CodeType) -> set[str]:
    """Return the names of attributes, captured variables and globals that code assigns to."""
    names = {
        str(step.argval)
        for step in dis.get_instructions(code)
        if step.opname in ("STORE_ATTR", "STORE_DEREF", "STORE_GLOBAL")
    }
    return names.union(*(_stored(inner) for inner in code.co_consts if isinstance(inner, types.CodeType)))


def _of_library(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).split(".")[0] in _LIBRARIES


def _code_digest(function: Any) -> str:
    return hashlib.sha256(repr(_code(function.__code__)).encode()).hexdigest()[:16]


def _code(code: types.CodeType) -> list[Any]:
    """Return what code does, without its place in a file and its docstring."""
    steps = [
        (step.opname, _code(step.argval) if isinstance(step.argval, types.CodeType) else _constant(step))
        for step in dis.get_instructions(code)
    ]
    return [code.co_argcount, code.co_kwonlyargcount, code.co_varnames, steps]


def _constant(step: dis.Instruction) -> str:
    value = step.argval
    return repr(sorted(value, key=repr)) if isinstance(value, frozenset) else repr(value)


def _simple(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if isinstance(value, (*_PLAIN, tuple))}


def _name(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__qualname__)


def _short(value: Any) -> Any:
    """Return a value, or a digest of it where it is long."""
    if len(value) <= _LONG:
        return value
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
    return {"name": f"{len(value)} entries", "digest": digest}
