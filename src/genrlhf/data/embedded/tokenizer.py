"""A word-level tokenizer for the controlled language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf.data.embedded.vocabulary import (
    CLOSERS,
    CONNECTORS,
    OPENERS,
    PLAIN_SENTENCES,
    SUBREDDITS,
    TITLES,
    URGENT_SENTENCES,
    words_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["EOS", "PAD", "UNK", "build_tokenizer"]

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
_HEADERS = ("SUBREDDIT:", "TITLE:", "POST:", "TL;DR:")
_MARKS = (".", ",", "!", "?", ";", ":")


def _phrases() -> list[str]:
    """Nouns with the determiner that stands before them, such as " my cat": one token, as frequent pairs are in BPE."""
    topics = SUBREDDITS.values()
    subjects = [f" my {subject}" for topic in topics for subject in topic.subjects[1:]]
    return subjects + [f" the {thing}" for topic in topics for thing in topic.objects]


def _vocabulary() -> dict[str, int]:
    """Number the tokens: special ones, layout, punctuation, then words with the blank before them."""
    spoken = words_of(*PLAIN_SENTENCES, *URGENT_SENTENCES, *TITLES, *OPENERS, *CLOSERS, *CONNECTORS, "my the got by me")
    for topic in SUBREDDITS.values():
        spoken += [*topic.subjects, *(word for pair in topic.verbs for word in pair), *topic.objects]
    tokens = [PAD, EOS, UNK, *_HEADERS, "\n\n", *_MARKS, *(f" r/{name}" for name in SUBREDDITS)]
    tokens += [f" {word}" for word in spoken] + _phrases()
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer of the embedded task.

    A token is a word with the blank before it, a noun with its determiner (" my cat"), a punctuation mark, a header
    such as "TL;DR:" or a blank line, so that decoding restores the text, and the tokens of prompt + completion are
    those of the prompt and then those of the completion. There is no BOS token; pad and EOS are distinct.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(_vocabulary(), unk_token=UNK))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, EOS, UNK)])
    headers, phrases = "|".join(_HEADERS), "|".join(_phrases())
    pattern = Regex(rf"{headers}|\n\n| ?r/\w+|(?:{phrases})\b| ?[A-Za-z]+|[.,!?;:]|\s|[^\s]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )
