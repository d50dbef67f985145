"""The public names are exactly those declared here, and each is importable, documented and described."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import genrlhf

ROOT = Path(__file__).parent.parent

PUBLIC = {
    "genrlhf": """
        BestOfNConfig BestOfNTrainer ConfigError DataError Estimate GenRLHFError JudgeError ModelError PPOConfig
        PPOTrainer RewardError RewardModelConfig RewardModelTrainer RunFolderError SFTConfig SFTTrainer
        SampleAndTuneConfig SampleAndTuneTrainer ShapeError Task __version__ load_task
    """,
    "genrlhf.annotators": """
        AnnotatedPair AnnotatedPairs Annotation AnnotationFigures Annotator AnnotatorFigures AnnotatorPool OutputPair
        annotation_figures pairs_from_models pairs_from_samples pairs_to_relabel read_pool
    """,
    "genrlhf.data": """
        SelfInstructConfig SelfInstructResult TLDRPost Task as_completion check_rows load_task load_tldr
        parse_tldr_prompt preferences_from_samples rate read_rows rouge_l self_instruct split_by_length
        split_by_subreddit split_rows tldr_prompt write_rows
    """,
    "genrlhf.integrations": "DiversityCallback OutputsFile load_outputs",
    "genrlhf.metrics": """
        EAD CompressionRatio DistinctK DistinctN Embedder EmbeddingClasses EntailmentClasses Estimate ExactClasses
        Forgetting Homogenisation JudgedClasses LikelihoodEntropy NLIDiversity NgramCosine OpenAIEmbeddings
        PairedComparison PairwiseMetric SamplesNeeded SelfBLEU SelfRepetition SemanticEntropy SentenceBERT Shift
        UtilityK VendiScore across_input_diversity compare_diversity diversity_inputs_needed embedding_distance
        forgetting forward_kl independent_inputs_needed inputs_needed length_difference
        match_lengths mean_estimate mean_words named_tokenizer pass_at_k per_input_diversity
        pooled_diversity proportion_estimate shares_needed shift_between word_difference
    """,
    "genrlhf.metrics.preference": """
        AlpacaEvalJudge AnnotationWinRate AnswerStore ChatEndpoint Comparison GeneralisationGaps JudgeAnswer
        JudgeTemplate JudgeValidation JudgedComparisons ModelAnswer NoAnswer OpenAIJudge PromptJudge ScoreJudge
        WinRate annotation_win_rates cohen_kappa compare_win_rates fleiss_kappa generalisation_gap generalisation_gaps
        head_to_head judge_comparisons judge_template known_preferences krippendorff_alpha length_controlled
        load_alpaca_eval_judge pairs_from_preferences preference_vs_reference validate_judge validation_table win_rate
        word_shift
    """,
    "genrlhf.metrics.solutions": """
        CrossingPoint FilteredDiversity ModelHomogeneity OverUsedPhrase answer_coverage cover_at_tau crossing_point
        distinct_valid effective_answers effective_semantic_diversity homogeneity_between kl_to_uniform majority_at_k
        over_used_phrases pass_at_k pass_hat_k quality_filtered_diversity valid_share valid_yield
        verdicts_from_scores
    """,
    "genrlhf.trainers": """
        BestOfNConfig BestOfNOutput BestOfNTrainer CARPConfig CARPTrainer CoOpCARPConfig CoOpCARPTrainer Completion
        DPOConfig DPOTrainer Group KTOConfig KTOTrainer Objective
        PPOConfig PPOTrainer RewardModelConfig RewardModelTrainer Rollout RolloutCallback Round SFTConfig SFTTrainer
        SampleAndTuneConfig SampleAndTuneTrainer SupervisedBatch Transform TuningRows
    """,
    "genrlhf.methods": """
        DQO GEM HIR ILF MARA METHODS RRHF SPIN ChainOfHindsight ClipCov Darling DivPO DiverseBestOfN Frequency KLCov
        Method PromptDistillation SampledHindsight SampledPromptDistillation Uniqueness Unlikelihood get_method
        method_names
    """,
}
NAMES = [(module, name) for module, names in PUBLIC.items() for name in names.split()]
CONFIGS = ["BestOfNConfig", "PPOConfig", "RewardModelConfig", "SFTConfig", "SampleAndTuneConfig"]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_those_declared(module: str) -> None:
    declared = importlib.import_module(module).__all__
    assert sorted(declared) == sorted(PUBLIC[module].split())
    assert len(set(declared)) == len(declared)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_names_exist_and_are_documented(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if name == "__version__":
        assert re.fullmatch(r"\d+\.\d+\.\d+", value)
    else:
        # A dataclass without a docstring is given its signature as one.
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")


def test_lazy_names_show_in_dir() -> None:
    assert set(genrlhf.__all__) <= set(dir(genrlhf))


@pytest.mark.parametrize("module", PUBLIC)
def test_unknown_names_raise_attribute_error(module: str) -> None:
    with pytest.raises(AttributeError, match=f"{re.escape(repr(module))}.*'no_such_name'"):
        importlib.import_module(module).no_such_name  # noqa: B018


def packages() -> list[str]:
    """Return the names of all packages of ours."""
    source = Path(genrlhf.__file__).parent
    folders = sorted(path.parent.relative_to(source.parent) for path in source.rglob("__init__.py"))
    return [".".join(folder.parts) for folder in folders]


@pytest.mark.parametrize("name", packages())
def test_dir_of_every_package_lists_its_names(name: str) -> None:
    package = importlib.import_module(name)
    assert set(getattr(package, "__all__", ())) <= set(dir(package))


def names_in_the_reference() -> set[Any]:
    """Return the objects that the pages of the reference describe."""
    found: set[Any] = set()
    current = ""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs/reference").glob("*.md")))
    for kind, name in re.findall(r"^\.\. (\w+):: ([\w.]+)$", pages, re.M):
        if kind == "currentmodule":
            current = name
        elif kind == "automodule":
            module = importlib.import_module(name)
            found |= {key_of(getattr(module, each)) for each in module.__all__}
        else:
            module_name, _, last = (name if "." in name else f"{current}.{name}").rpartition(".")
            found.add(key_of(getattr(importlib.import_module(module_name), last)))
    return found


def key_of(value: Any) -> Any:
    return (value.__module__, value.__qualname__) if hasattr(value, "__qualname__") else id(value)


def code_of_docs() -> Iterator[tuple[str, str]]:
    """Yield the Python that users are shown, each with the name of its file."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for code in re.findall(r"^```(?:python|text)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S):
            yield path.name, code
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")


def test_names_that_docs_and_examples_use_are_in_the_reference() -> None:
    known = names_in_the_reference()
    used: set[tuple[str, str, str]] = set()
    for file, code in code_of_docs():
        for module, one, several in re.findall(
            r"^\s*from (genrlhf[\w.]*) import (?:([\w, ]+)$|\(([\w,\s]+)\))", code, re.M
        ):
            used |= {(file, module, name) for name in re.findall(r"\w+", one or several)}
    assert len(used) > 60
    unknown = []
    for file, module, name in sorted(used):
        try:
            value = getattr(importlib.import_module(module), name)
        except AttributeError:
            value = importlib.import_module(f"{module}.{name}")
        if not inspect.ismodule(value) and key_of(value) not in known:
            unknown.append(f"{file}: {module}.{name}")
    assert unknown == []


def own_fields(config: Any) -> Iterator[dataclasses.Field[Any]]:
    """Yield the fields that our classes add to those of their parents in other libraries, or change."""
    for owner in config.__mro__:
        if owner.__module__.startswith("genrlhf."):
            known = {field.name for field in dataclasses.fields(owner)}
            yield from (config.__dataclass_fields__[n] for n in inspect.get_annotations(owner) if n in known)


@pytest.mark.parametrize("name", CONFIGS)
def test_fields_of_configs_are_described(name: str) -> None:
    fields = list(own_fields(getattr(genrlhf, name)))
    assert fields
    assert [field.name for field in fields if not str(field.metadata.get("help", "")).endswith((".", ")"))] == []


def test_version_is_that_of_the_changelog() -> None:
    changelog = (Path(__file__).parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{genrlhf.__version__}]" in changelog
