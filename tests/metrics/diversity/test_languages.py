"""Every metric in many scripts: equal texts are equal, different ones are not, and what has no words is left out."""

from __future__ import annotations

import hashlib
import math
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from genrlhf.errors import ModelError
from genrlhf.metrics import (
    EAD,
    CompressionRatio,
    DistinctN,
    Embedder,
    EntailmentClasses,
    ExactClasses,
    Homogenisation,
    NgramCosine,
    NLIDiversity,
    SelfBLEU,
    SelfRepetition,
    SentenceBERT,
    VendiScore,
    across_input_diversity,
    compare_diversity,
    per_input_diversity,
    pooled_diversity,
)
from genrlhf.metrics.diversity.bert_score import BERTScorer
from genrlhf.metrics.diversity.catalogue import METRICS, MetricOptions, build_metrics
from genrlhf.metrics.diversity.embedding_cache import EmbeddingCache
from genrlhf.metrics.diversity.nli_scorer import SharedScorer
from genrlhf.metrics.diversity.tally import TextTally
from genrlhf.metrics.diversity.tokenizers import how_words_count, named_tokenizer
from genrlhf.text import words

LANGUAGES = {
    "English": ["The café is open all day long.", "A déjà-vu came over them again tonight!"],
    "Vietnamese": ["Hôm nay thời tiết rất đẹp và ấm.", "Tôi thích uống cà phê mỗi buổi sáng."],
    "Russian": ["Сегодня хорошая погода, пойдём гулять в парк.", "Он любит чёрный кофе и свежий хлеб."],
    "Greek": ["Ο καιρός είναι πολύ καλός σήμερα εδώ.", "Μου αρέσει να διαβάζω παλιά βιβλία."],
    "Arabic": ["الطقس جميل جدًا اليوم في المدينة.", "أحب قراءة الكتب القديمة كل مساء؟"],
    "Hebrew": ["מזג האוויר יפה מאוד היום בעיר.", "אני אוהב לקרוא ספרים ישנים בערב."],
    "Hindi": ["आज मौसम बहुत अच्छा है यहाँ।", "मुझे पुरानी किताबें पढ़ना पसंद है।"],
    "Thai": ["วันนี้อากาศดีมากเลยครับ", "ผมชอบอ่านหนังสือเก่าน้ำใส"],
    "Khmer": ["ថ្ងៃនេះអាកាសធាតុល្អណាស់។", "ខ្ញុំចូលចិត្តអានសៀវភៅចាស់។"],
    "Chinese": ["今天的天气真的很好，我们去公园。", "股票昨日大幅下跌，火车晚点两小时。"],
    "Japanese": ["今日はとても天気がいいですね。", "古い本を読むのが好きだけど。"],
    "Korean": ["오늘은 날씨가 정말 아주 좋아요.", "저는 오래된 책을 읽기 좋아해요!"],
    "Georgian": ["დღეს ძალიან კარგი ამინდია აქ ქალაქში.", "მე მიყვარს ძველი წიგნების კითხვა საღამოს."],
    "Amharic": ["ዛሬ የአየር ሁኔታው በጣም ጥሩ ነው።", "እኔ አሮጌ መጽሐፍትን ማንበብ በጣም እወዳለሁ።"],
    "mixed": ["我的 iPhone 15 は とても good ครับ!", "Он купил 书 and ከተማ 오늘 नई किताब।"],
    "emoji": ["🍕🍕🎉 👍🏽", "🚗💨 ❤️"],
}
"""Two unlike texts in each."""

SHORT = {"Paris": "Rome", "Да": "Нет", "好": "坏", "ครับ": "ค่ะ", "예": "네", "हाँ": "नहीं", "አዎ": "አይ", "7": "8"}

OF_TEXTS = [name for name in METRICS if name != "likelihood_entropy"]
"""Without what needs log-probabilities beside the texts."""

LEXICAL = [name for name in METRICS if name.startswith(("ead", "distinct"))] + [
    *("ngram_cosine", "self_bleu", "self_repetition", "rouge_l")
]
LEXICAL.remove("distinct_k")

LEAST = {"ngram_cosine": 0, "self_bleu": 1, "rouge_l": 1, "bert_score": 1, "sentence_bert": 0, "vendi": 1}
LEAST |= {"distinct_k": 1, "semantic_entropy": 0}
"""What equal texts have."""


def embed(texts: list[str]) -> np.ndarray:
    """Embed a text by its characters, by a hash that is the same in every process."""
    found = np.full((len(texts), 64), 0.01)
    for row, text in zip(found, texts, strict=True):
        for sign in text:
            row[hashlib.sha256(sign.encode()).digest()[0] % 64] += 1
    return found


def judge(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
    """Say that different texts contradict each other."""
    return [[0.0, 0.2, 0.8] if a == b else [0.9, 0.1, 0.0] for a, b in zip(premises, hypotheses, strict=True)]


def byte_tokenizer(limit: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are the bytes of a text, so that it knows every script."""
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE({sign: number for number, sign in enumerate(signs)}, [], unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=limit, **special)


CONFIG = BertConfig(
    vocab_size=260,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=256,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bytes")
    BertModel(CONFIG).save_pretrained(folder)
    byte_tokenizer(256).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def metrics(encoder: str) -> dict[str, Any]:
    options = MetricOptions(
        embedder=Embedder(embed), scorer=SharedScorer(judge), bert_score_model=encoder, classes="exact"
    )
    return build_metrics(list(METRICS), options)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* texts .*")
        yield


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", OF_TEXTS)
def test_equal_texts_are_equal_and_different_ones_are_not(metrics: dict[str, Any], name: str, language: str) -> None:
    metric, (text, other) = metrics[name], LANGUAGES[language]
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFC", "NFD")]
    # Every text twice would give each text its match.
    equal, different = metric(forms), metric([text, other] * (1 if name == "self_bleu" else 2))
    if name in LEXICAL and language == "emoji":
        assert math.isnan(equal) and math.isnan(different)
        return
    assert equal == pytest.approx(metric(forms[:1] * 4), abs=1e-6)
    if name in LEAST:
        assert equal == pytest.approx(LEAST[name], abs=1e-5)
    sign = 1 if getattr(metric, "higher_is_more_diverse", True) else -1
    assert sign * (different - equal) > 1e-3


@pytest.mark.parametrize("text", SHORT)
@pytest.mark.parametrize("name", OF_TEXTS)
def test_one_word_is_enough(metrics: dict[str, Any], name: str, text: str) -> None:
    metric = metrics[name]
    equal, different = metric([text] * 4), metric([text, SHORT[text]] * (1 if name == "self_bleu" else 2))
    if name[-2:] in ("_2", "_3", "_4", "_5"):
        return  # of one order, which one word may not have
    if name in LEAST:
        assert equal == pytest.approx(LEAST[name], abs=1e-5)
    sign = 1 if getattr(metric, "higher_is_more_diverse", True) else -1
    assert sign * (different - equal) > 1e-3


@pytest.mark.parametrize("wordless", ["", "  ", "…", "?!", "🍕", "。"])
@pytest.mark.parametrize("name", LEXICAL)
def test_texts_without_words_change_nothing(metrics: dict[str, Any], name: str, wordless: str) -> None:
    texts = ["a b c d e f", "b c d e f a", "c a b"]
    assert metrics[name]([*texts, wordless, wordless]) == pytest.approx(metrics[name](texts), abs=1e-12)
    assert math.isnan(metrics[name]([wordless] * 4))
    assert metrics[name].remarks([*texts, wordless]) == {"have no words and are left out": 1}


@pytest.mark.parametrize("name", ["ngram_cosine", "self_bleu", "self_repetition", "rouge_l"])
def test_one_text_with_words_has_nothing_to_be_compared_with(metrics: dict[str, Any], name: str) -> None:
    assert math.isnan(metrics[name](["a b c d e", "", "..."]))


def test_blank_texts_are_no_part_of_what_is_compressed() -> None:
    assert CompressionRatio()(["ab " * 9, "", " "]) == CompressionRatio()(["ab " * 9])
    assert CompressionRatio().remarks(["a", "", " ", "!"]) == {"are blank and are left out": 2}


def test_a_call_warns_of_texts_without_words() -> None:
    for metric in (EAD(), DistinctN(1), NgramCosine(), SelfBLEU(), SelfRepetition(), Homogenisation()):
        with pytest.warns(
            UserWarning, match=rf"{metric.name}: 1 of 4 texts \(25.0%\) have no words and are left out\."
        ):
            metric(["a b", "a c", "...", "a b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EAD()(["a b", "c"])


def test_classes_take_forms_of_one_text_for_one() -> None:
    assert ExactClasses()([["é", "e\u0301", "É", "e"]]) == [[0, 0, 0, 1]]
    assert EntailmentClasses(judge)([["é", "e\u0301", "e"]]) == [[0, 0, 1]]


LONG, SHORTER = "the same words once more " * 20, "a cat"


def sentence_transformer(encoder: str) -> SentenceTransformer:
    body = Transformer(encoder, max_seq_length=64)
    return SentenceTransformer(modules=[body, Pooling(16)], device="cpu")


def test_texts_that_an_encoder_cuts_are_counted(encoder: str, tmp_path: Path) -> None:
    model = sentence_transformer(encoder)
    embedder = Embedder(model)
    # 62 bytes and two special tokens are 64; é and the 8 bytes that make a text worth a second look are no reason.
    texts = [LONG + "end", LONG + "stop", "x" * 62, "x" * 63, "é" * 31, "ok"]
    for metric in (SentenceBERT(embedder), VendiScore(embedder)):
        with pytest.warns(UserWarning, match=r"3 of 6 texts \(50.0%\) are longer than the limit of 64 tokens"):
            metric(texts)
    assert SentenceBERT(embedder).remarks(["ok", SHORTER]) == {}


def test_a_cache_knows_which_texts_were_cut(encoder: str, tmp_path: Path) -> None:
    model = sentence_transformer(encoder)
    model.cache_key = "bytes"
    SentenceBERT(Embedder(model, cache=tmp_path)).batch([[LONG, SHORTER]])
    again = SentenceBERT(Embedder(model, cache=tmp_path))
    again.batch([[LONG, SHORTER]])
    assert list(again.remarks([LONG, SHORTER]).values()) == [1]
    assert EmbeddingCache(tmp_path, "bytes").read_cut([LONG, SHORTER]) == {LONG: 64}


def test_texts_that_bert_score_cuts_are_counted(encoder: str) -> None:
    scorer = BERTScorer(encoder)
    scorer([(LONG, SHORTER), ("x" * 254, "x" * 255)])
    assert list(scorer.remarks([LONG, SHORTER, "x" * 254, "x" * 255]).items()) == [
        ("are longer than the limit of 256 tokens of the encoder and are cut there", 2)
    ]
    metric = Homogenisation("bert_score", model=encoder)
    with pytest.warns(UserWarning, match=r"homogenisation_bert_score: 2 of 3 texts"):
        metric([LONG, LONG + "z", SHORTER])


def test_texts_that_a_classifier_cuts_are_counted(encoder: str, tmp_path: Path) -> None:
    from genrlhf.metrics.diversity.nli_model import NLIModel

    labels = dict(enumerate(("contradiction", "neutral", "entailment")))
    BertForSequenceClassification(
        BertConfig(**{**CONFIG.to_dict(), "id2label": labels, "label2id": {name: i for i, name in labels.items()}})
    ).save_pretrained(tmp_path)
    byte_tokenizer(256).save_pretrained(tmp_path)
    model = NLIModel(str(tmp_path), max_length=64, device="cpu")
    # 61 bytes fit beside three special tokens.
    model(["x" * 30, "y" * 60, "a" * 40], ["z" * 31, "z" * 2, "b" * 40])
    assert model.cut.keys() == {hash("y" * 60), hash("a" * 40), hash("b" * 40)}
    metric = NLIDiversity(SharedScorer(str(tmp_path)), split="texts")
    metric.scorer.scorer = model
    with pytest.warns(UserWarning, match=r"nli: 1 of 2 texts \(50.0%\) are longer than the limit of 64 tokens"):
        metric([LONG, SHORTER])
    assert metric.remarks([SHORTER]) == {}


def test_named_tokenizers(encoder: str, tmp_path: Path) -> None:
    assert named_tokenizer("words") is words
    assert named_tokenizer("characters")("né 你!") == ["n", "é", "你", "!"]
    assert named_tokenizer("characters")("🍕!") == []
    tokens = named_tokenizer(encoder)
    assert tokens is named_tokenizer(encoder)
    assert tokens("né") == tokens("ne\u0301") == ["n", "Ã", "©"]
    assert tokens("...") == [] and tokens("x" * 999) == ["x"] * 999
    with pytest.raises(ModelError, match="There is no tokenizer at 'nowhere'"):
        named_tokenizer("nowhere")


def test_a_token_that_a_tokenizer_does_not_know_stands_for_itself(tmp_path: Path) -> None:
    raw = Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1}, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Split(Regex(r"\s"), "removed")
    PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]").save_pretrained(tmp_path)
    tokens = named_tokenizer(str(tmp_path))
    assert tokens("Cat 猫 dog") == ["cat", "猫", "dog"]
    assert NgramCosine(1, tokens)(["猫", "狗"]) == 1


@pytest.mark.parametrize("name", ["ead_1", "distinct_1", "ngram_cosine", "self_bleu", "self_repetition", "rouge_l"])
def test_a_tokenizer_reaches_every_metric_that_counts_words(name: str) -> None:
    asked: list[str] = []

    def split(text: str) -> list[str]:
        asked.append(text)
        return text.split("-")

    (metric,) = build_metrics([name], MetricOptions(tokenizer=split)).values()
    metric(["a-b", "a-c"])
    assert set(asked) == {"a-b", "a-c"}


def test_rouge_l_of_the_command_ignores_case_and_punctuation_unless_told_otherwise() -> None:
    for tokenizer, expected in ((None, 1), (words, 1), (named_tokenizer("characters"), 2 * 1 / 4)):
        (metric,) = build_metrics(["rouge_l"], MetricOptions(tokenizer=tokenizer)).values()
        assert metric(["ab", "aB."[:2]]) == pytest.approx(expected)


def test_how_words_are_counted_is_said() -> None:
    assert how_words_count(None, "Latin", False).startswith("words by nltk's NLTKWordTokenizer")
    assert how_words_count(None, "Thai", True).startswith("Thai has no blanks between words, so every character counts")
    assert how_words_count("characters", "Latin", False) == "every character counts as a word"
    assert how_words_count("org/name", "Thai", True) == "words are the tokens of org/name"


def test_functions_warn_once_with_the_count_over_all_inputs() -> None:
    outputs = [["a b", "a c", ""], ["a b", "...", "b"]]
    said = r"ead: 2 of 6 texts \(33.3%\) have no words and are left out\."
    with pytest.warns(UserWarning, match=said) as caught:
        per_input_diversity(outputs, EAD())
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="ead: 2 of 6 texts"):
        pooled_diversity(outputs, EAD())
    with pytest.warns(UserWarning, match="ead: 1 of 2 texts"):
        across_input_diversity(outputs, EAD(), sample=1)
    with pytest.warns(UserWarning, match="ead: 2 of 6 texts"):
        compare_diversity(outputs, [["a b", "a c", "d"]] * 2, EAD())


def test_a_metric_of_ones_own_may_have_remarks() -> None:
    class Lengths:
        name = "lengths"

        def __call__(self, texts: Any) -> float:
            return float(len({len(text) for text in texts}))

        def remarks(self, texts: Any) -> dict[str, int]:
            return {"are very long": sum(len(text) > 3 for text in texts)}

    with pytest.warns(UserWarning, match=r"lengths: 3 of 4 texts \(75.0%\) are very long"):
        per_input_diversity([["a b c", "a"], ["a b d", "a b e"]], Lengths())


def test_a_tally_of_texts() -> None:
    tally = TextTally()
    tally.add(["a b", "你好吗", "", "🍕 !"])
    assert (tally.texts, tally.words, tally.without_words, tally.mean_words) == (4, 7, 2, 7 / 4)
    assert tally.scripts == {"Latin": 1, "Han": 1} and tally.script == "Latin" and not tally.without_blanks
    tally.add(["好"])
    assert tally.script == "Han" and tally.without_blanks
    assert TextTally().script is None and TextTally().mean_words == 0
