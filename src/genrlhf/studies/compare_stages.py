"""What the models of a comparison are asked, as stages: each is known by its content, and made once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from accelerate import PartialState

from genrlhf.data.asking import Asking
from genrlhf.data.files import replacing
from genrlhf.errors import DataError
from genrlhf.launchers import number_of_this_process
from genrlhf.sampling.filling import fill
from genrlhf.sampling.store import Progress, SampleStore, digest_of
from genrlhf.studies.compare_models import AskedModel, Drawing
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.launching import Launcher
from genrlhf.studies.making import Report
from genrlhf.studies.results import temperature_key, to_json
from genrlhf.studies.running import run
from genrlhf.studies.stages.forgetting import forgetting_figures, measured_forgetting
from genrlhf.studies.stages.measure import measured_kl
from genrlhf.studies.workshop import Workshop
from genrlhf.types import Sampler, SamplingParams

__all__ = ["OUTPUTS", "Asked", "drawn", "slugs", "stored"]

OUTPUTS = "outputs.jsonl"
_FILE = "asked.json"
_LONGEST_TEXT = 512


@dataclass(frozen=True)
class Asked:
    """All that the models of a comparison are asked.

    Attributes:
        folder: of the comparison.
        drawing: how models are sampled.
        models: in the order in which they are asked.
        rows: by evaluation set, each with a `prompt`.
        kl_from: the name of the model that the others are compared with.
        kl_prompts: on which they are.
        texts: on which their loss is compared.
    """

    folder: Path
    drawing: Drawing
    models: Sequence[AskedModel]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    kl_from: str | None = None
    kl_prompts: Sequence[Any] = ()
    texts: Sequence[str] = ()

    def graph(self) -> Graph:
        """Return the stages, those of one model together."""
        made: list[tuple[tuple[str, ...], Stage]] = [*self.samples.items(), *self.kls.items(), *self.forgotten.items()]
        names = [model.name for model in self.models]
        return Graph(stage for _, stage in sorted(made, key=lambda pair: names.index(pair[0][0])))

    @cached_property
    def samples(self) -> dict[tuple[str, str, str], Stage]:
        """What draws the outputs of a model at a temperature on a set, by these."""
        places = dict(zip(self.rows, slugs(self.rows, "set"), strict=True))
        found = {}
        for model in self.models:
            for temperature in self.drawing.temperatures:
                key = temperature_key(temperature)
                for where, place in places.items():
                    settings = self._store(model, temperature, where, Path()).settings
                    run = partial(self._sample, model, temperature, where)
                    name = f"sample/{self._at(model, key)}/{place}"
                    found[model.name, key, where] = Stage(name, settings, {}, run, launched=True)
        return found

    @cached_property
    def kls(self) -> dict[tuple[str, str], Stage]:
        """What measures the KL of a model at a temperature, by these."""
        found = {}
        base = self.base
        for model in self.models:
            if base is None or model.model == base.model or model.name in self.drawing.verbalized:
                continue
            for temperature in self.drawing.temperatures:
                if temperature > 0:
                    params = replace(self.drawing.params, temperature=temperature)
                    known = {**asdict(params), "seed": self.drawing.seed, "prompts": digest_of(self.kl_prompts)}
                    settings = {**self._pair(model), **known}
                    key = temperature_key(temperature)
                    run = partial(self._kl, model, params)
                    found[model.name, key] = Stage(f"kl/{self._at(model, key)}", settings, {}, run)
        return found

    @cached_property
    def forgotten(self) -> dict[tuple[str], Stage]:
        """What measures the loss of a model on texts, by its name."""
        found = {}
        for model in self.models if self.texts else ():
            if model.name == self.kl_from:
                continue
            settings = {**self._pair(model), "texts": digest_of(self.texts), "longest": _LONGEST_TEXT}
            run = partial(self._forgetting, model)
            found[(model.name,)] = Stage(f"forgetting/{self._slug(model)}", settings, {}, run)
        return found

    @property
    def base(self) -> AskedModel | None:
        """The model that the others are compared with."""
        return next((model for model in self.models if model.name == self.kl_from), None)

    def _pair(self, model: AskedModel) -> dict[str, Any]:
        assert self.base is not None
        return {"model": model.settings(self.drawing), "base": self.base.settings(self.drawing)}

    def _at(self, model: AskedModel, key: str) -> str:
        return f"{self._slug(model)}@{key}"

    def _slug(self, model: AskedModel) -> str:
        names = [each.name for each in self.models]
        return slugs(names, "model")[names.index(model.name)]

    @cached_property
    def _shop(self) -> Workshop:
        drawing = self.drawing
        return Workshop(
            drawing.batch_size,
            dtype=drawing.dtype,
            trust_remote_code=drawing.trust_remote_code,
            asks=not drawing.ignore_asking,
        )

    def let_go(self) -> None:
        """Let go of the models, whose memory is needed."""
        self._shop.clear()

    def _store(
        self, model: AskedModel, temperature: float, where: str, folder: Path, process: int = 0, processes: int = 1
    ) -> SampleStore:
        return SampleStore(
            folder / OUTPUTS,
            self.rows[where],
            n=self.drawing.n,
            params=self.drawing.params_of(model.name, temperature),
            seed=self.drawing.seed,
            model=model.settings(self.drawing),
            process=process,
            processes=processes,
        )

    def _sample(
        self, model: AskedModel, temperature: float, where: str, folder: Path, context: StageContext
    ) -> dict[str, Any]:
        state = PartialState()
        store = self._store(model, temperature, where, folder, state.process_index, state.num_processes)

        def sampler() -> Sampler:
            # As few models in memory as can be: this one, and the one that is needed again and again.
            self._shop.keep_only(model.model, *([] if self.base is None else [self.base.model]))
            return model.sampler(self._shop.sampler(model.model), self.drawing)

        fill(store, sampler, _now_and_then(context.report))
        records = store.records()
        cut = sum(not ended for record in records for ended in record["ended"])
        return {"inputs": len(records), "outputs": len(records) * self.drawing.n, "cut": cut}

    def _kl(self, model: AskedModel, params: SamplingParams, folder: Path, context: StageContext) -> dict[str, Any]:
        assert self.base is not None
        prompts, theirs = (each.prompts(self.kl_prompts) for each in (model, self.base))
        # Other draws than those that are measured otherwise.
        seed = self.drawing.seed + 1
        found = measured_kl(*self._two(model), prompts, params, seed=seed, reference_prompts=theirs)
        return {"kl": None if found is None else to_json(found, values=True)}

    def _forgetting(self, model: AskedModel, folder: Path, context: StageContext) -> dict[str, Any]:
        found = measured_forgetting(*self._two(model), self.texts, max_tokens=_LONGEST_TEXT)
        return dict(to_json(forgetting_figures(found), values=True))

    def _two(self, model: AskedModel) -> tuple[Any, Any]:
        assert self.base is not None
        self._shop.keep_only(model.model, self.base.model)
        return self._shop.sampler(model.model), self._shop.sampler(self.base.model)

    def results(self) -> Mapping[str, Any]:
        """Return nothing: `genrlhf compare` measures what was drawn."""
        return {}

    def store(self) -> None:
        """Write what is asked to the folder, for processes that are started anew."""
        content = {**asdict(self), "folder": None}
        with replacing(self.folder / _FILE) as partial_file:
            partial_file.write_text(json.dumps(content), encoding="utf-8")


def drawn(
    asked: Asked, *, report: Report, jobs: int = 1, threads: int | None = None, launcher: str | None = None
) -> None:
    """Draw what is not there, in this process, in processes of its own or in those of a launcher, see `running.run`."""
    started = None
    if launcher is not None:
        started = Launcher(launcher, [f"{__name__}:{stored.__name__}", "--output-dir", str(asked.folder)])
    if number_of_this_process() == 0:
        asked.store()
    graph = asked.graph()
    run(
        graph,
        asked.folder,
        launcher=started,
        report=report,
        jobs=jobs,
        threads=threads,
        remake=partial(graph_of, asked.folder),
    )
    asked.let_go()
    if asked.drawing.overwrite and number_of_this_process() == 0:
        StudyFolder(asked.folder, graph).prune()


def stored(output_dir: str | Path) -> Asked:
    """Return what the models of a comparison are asked, as its folder says.

    A launcher's processes run it as `genrlhf study genrlhf.studies.compare_stages:stored --output-dir … --only …`.

    Raises:
        DataError: for a folder of no comparison.
    """
    folder = Path(output_dir)
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        drawing = content["drawing"]
        models = [
            AskedModel(**{**each, "asking": None if each["asking"] is None else Asking(**each["asking"])})
            for each in content["models"]
        ]
        return Asked(
            **{
                **content,
                "folder": folder,
                "drawing": Drawing(**{**drawing, "params": SamplingParams(**drawing["params"])}),
                "models": models,
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / _FILE} cannot be read ({error}); start genrlhf compare again.") from error


def graph_of(folder: Path) -> Graph:
    """Return the stages once more, in a process that was started anew."""
    from genrlhf.studies.progress import quiet_libraries

    quiet_libraries()
    return stored(folder).graph()


def slugs(names: Iterable[str], kind: str, *, ascii: bool = True) -> list[str]:
    """Return names that files can have: the same but for what these cannot hold, or numbers where that is not clear.

    Args:
        names: what they are of.
        kind: what stands before a number.
        ascii: leave letters of other scripts out.

    Example:
        >>> slugs(["id", "far away"], "set")
        ['id', 'far_away']
        >>> slugs(["id", "模型"], "set")
        ['set-0', 'set-1']
    """
    flags = re.ASCII if ascii else 0
    found = [re.sub(r"[^\w.-]", "_", name, flags=flags)[:60].lstrip(".-") for name in names]
    clear = all(slug.strip("_.-") for slug in found) and len({slug.lower() for slug in found}) == len(found)
    return found if clear else [f"{kind}-{number}" for number in range(len(found))]


def _now_and_then(report: Callable[[str], None]) -> Callable[[Progress], None]:
    last = time.monotonic()

    def progress(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last > 15:
            last = time.monotonic()
            report(f"{now.prompts} of {now.total}, {now.tokens_per_second:.0f} tokens/s")

    return progress
