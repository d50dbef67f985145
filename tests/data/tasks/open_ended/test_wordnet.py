"""Classes of WordNet, as nltk reads it: a tiny one in its files; the families of the package; what is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from genrlhf.data import load_task
from genrlhf.data.tasks.open_ended import notice
from genrlhf.data.tasks.open_ended.checkers import CHECKERS, Checker, make_checker
from genrlhf.data.tasks.open_ended.wordnet import WORDNET_FAMILIES
from genrlhf.errors import DataError
from tests import needs
from tests.data.tasks.open_ended import tiny_wordnet

pytestmark = pytest.mark.filterwarnings("ignore:The multilingual functions")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wordnet.write(tmp_path_factory.mktemp("nltk_data"))


@pytest.fixture
def tiny(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wordnet.use(monkeypatch, data)


def checker(synsets: Any = "animal.n.01", **settings: Any) -> Checker:
    return make_checker({"type": "wordnet", "synsets": synsets, **settings}, "here", frozenset)


def listed(made: Checker) -> list[str]:
    assert made.listed is not None
    return list(made.listed())


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("settings", "answers"),
    [
        ({}, "A. dog, animal, beast, cat, dog, hominid, man, pet, Siamese, Siamese cat"),
        ({"without": ["hominid.n.01"]}, "A. dog, animal, beast, cat, dog, pet, Siamese, Siamese cat"),
        ({"without": ["hominid.n.01", "a. DOG", "Beast"]}, "animal, cat, dog, pet, Siamese, Siamese cat"),
        ({"without": ["pet.n.01", "hominid.n.01"], "also": ["newt", "Dog"]}, None),
        ({"synsets": ["cat.n.01", "berry.n.01"]}, "berry, cat, Siamese, Siamese cat"),
        ({"synsets": "cat.n.01", "instances": True}, "cat, Garfield, Siamese, Siamese cat"),
    ],
)
def test_a_class_is_all_that_is_below_its_synsets(settings: dict[str, Any], answers: str | None) -> None:
    # Below what is left out nothing counts that has no other way up; a cat has two, and an answer is listed once.
    want = answers or "A. dog, animal, beast, cat, dog, newt, Siamese, Siamese cat"
    assert listed(checker(**settings)) == want.split(", ")


@pytest.mark.usefixtures("tiny")
def test_answers_have_the_spellings_of_lists() -> None:
    made = checker(["animal.n.01", "berry.n.01"], drop_article=True, singular=True, aliases={"kitty": "cat"})
    texts = [" a siamese  cat.", "Berries", "Kitty", "animals", "newt", ""]
    assert [made.answer(text) for text in texts] == ["siamese cat", "berry", "cat", "animal", None, None]


def test_what_was_read_tells_verifiers_apart(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = json.loads(WORDNET_FAMILIES.read_text("utf-8"))["families"]["animal"]
    shown = {"train": ["dog", "cat", "beast"], "eval": ["pet", "Siamese", "animal"]}
    own = {**kind, "exemplars": shown, "checker": {"type": "wordnet", "synsets": "animal.n.01", "singular": True}}
    other = shutil.copytree(data, tmp_path / "other")
    nouns = other / "corpora/wordnet/data.noun"
    nouns.write_text(nouns.read_text("utf-8").replace("A._dog", "B._dog"), "utf-8")
    settings = []
    for folder in (data, other):
        tiny_wordnet.use(monkeypatch, folder)
        task = load_task("open_ended", families=["animal"], more={"animal": own}, n_demonstrations=9, n_prompts=4)
        row = task.prompts[0]
        assert task.gold is not None and task.gold([row["prompt"]], [" Dogs, \nQ:"]) == [1.0]
        settings.append(task.gold.settings())  # type: ignore[attr-defined]
    assert settings[0] != settings[1]


def test_a_wordnet_that_is_not_there_is_asked_for_once_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_wordnet.use(monkeypatch, tmp_path)
    load_task("open_ended", wordnet=True, families=["us_state"], n_demonstrations=3, n_prompts=3)
    with pytest.raises(DataError, match=r"^the shipped families, family 'animal' .* not find .*downloader wordnet"):
        load_task("open_ended", wordnet=True)
    (tmp_path / "corpora/wordnet").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot be read \(.*lexnames.*NLTK_DATA") as raised:
        listed(checker())
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("tiny")
def test_no_such_class() -> None:
    for name in ("newt.n.01", "animal.n.02"):
        with pytest.raises(DataError, match=f"^here: WordNet 3.0 has no synset '{name}'; look for its name"):
            listed(checker(name))
    with pytest.raises(DataError, match="here: WordNet's cat.n.01 without .* is nothing"):
        listed(checker("cat.n.01", without=["animal.n.01", "cat.n.01"]))
    for synsets in ([], "animal", ["animal.n.01", "dog"], [1]):
        with pytest.raises(DataError, match="here: synsets of the checker 'wordnet' (is|are) .*give"):
            checker(synsets)
    with pytest.raises(DataError, match="here: without of the checker 'wordnet' is 3; give a list of texts"):
        checker(without=3)
    with pytest.raises(DataError, match="cannot be made of .*unexpected keyword argument 'sinsets'"):
        checker(sinsets=3)


@needs.data("open_ended.json")
def test_the_families_of_the_package_are_those_of_the_file_beside_it() -> None:
    content = json.loads(WORDNET_FAMILIES.read_text("utf-8"))
    assert notice().startswith("This software and database is being provided to you, the LICENSEE, by Princeton")
    assert "AS IS" in notice() and "wordnet" in CHECKERS
    read = json.loads((needs.DATA / "open_ended.json").read_text("utf-8"))["families"]
    same = ("split", "question", "paraphrases", "noun", "title", "exemplars", "size", "max_new_tokens")
    for name, family in content["families"].items():
        assert {key: family[key] for key in same} == {key: read[name][key] for key in same}
        settings = family["checker"]
        assert {*settings.get("also", ())} <= {*read[name]["checker"]["answers"]}
        assert not {*settings.get("without", ())} & {*read[name]["checker"]["answers"]}
