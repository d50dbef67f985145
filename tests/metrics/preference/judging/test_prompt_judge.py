"""Templates and the judge that asks with them."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.errors import ConfigError, JudgeError
from genrlhf.metrics.preference import JudgeTemplate, ModelAnswer, PromptJudge, judge_template, win_rate
from genrlhf.metrics.preference.judging.verdicts import read_letter

TASKS: list[Any] = ["instructions", "forum_posts", "news"]
ANSWERS: list[Any] = ["ranking", "letter", "logprobs", "reasoned"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_own_templates_show_all_and_can_be_answered(task: Any, answer: Any) -> None:
    template = judge_template(task, answer)
    system, user = template.fill("The INSTRUCTION.", "The FIRST.", "The SECOND.")
    assert (system["role"], user["role"]) == ("system", "user")
    places = [user["content"].index(part) for part in ("The INSTRUCTION.", "model_1", "The FIRST.", "The SECOND.")]
    assert places == sorted(places)
    assert "{" not in system["content"]
    replies = {
        "ranking": '[{"model": "model_2", "rank": 1}, {"model": "model_1", "rank": 2}]',
        "letter": "M",
        "logprobs": "M",
        "reasoned": "The second is right.\n[[B]]",
    }
    assert template.read(replies[answer]) == 2
    assert template.name == f"{task}-{answer}"


def test_texts_are_filled_in_as_they_are() -> None:
    template = JudgeTemplate(
        "t", [{"role": "user", "content": "{instruction}|{output_1}|{output_2}|{x}"}], read_letter, 1
    )
    (message,) = template.fill("{output_1}", r"\1 {output_2}", "{instruction} <|im_end|>")
    assert message["content"] == r"{output_1}|\1 {output_2}|{instruction} <|im_end|>|{x}"


def test_templates_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"The template 't' has no \{output_2\}"):
        JudgeTemplate("t", [{"role": "user", "content": "{instruction} {output_1}"}], read_letter, 1)
    with pytest.raises(ConfigError, match="There is no template for 'poems' with answer 'letter'"):
        judge_template("poems", "letter")  # type: ignore[arg-type]


def test_win_rate_by_a_prompt_judge() -> None:
    def longer(conversations: list[list[dict[str, str]]]) -> list[str | None]:
        replies: list[str | None] = []
        for _, user in conversations:
            first, second = (part.split("\n>>>")[0] for part in user["content"].split("<<<\n")[2:4])
            replies.append("no idea" if first == second else "m" if len(first) > len(second) else "M")
        return replies

    judge = PromptJudge(longer, judge_template("instructions", "letter"))
    found = win_rate(["p", "q", "r", "s"], ["aaa", "aaa", "a", "b"], ["b", "b", "bb", "b"], judge)
    assert (found.wins, found.losses, found.ties, found.unanswered) == (2, 1, 0, 1)
    assert [answer.text for answer in judge.answers].count("no idea") == 1
    assert sum(answer.preference is None for answer in judge.answers) == 1


def test_no_answer_and_wrong_answers() -> None:
    judge = PromptJudge(lambda conversations: [None] * len(conversations))
    assert judge(["p"], ["a"], ["b"]) == [None]
    assert judge.answers[0].text is None and judge.answers[0].shown == ("p", "a", "b")
    wrong: list[Any] = [["m", "M"], [1]]
    for returned in wrong:
        with pytest.raises(JudgeError, match="a text, or None, for each of 1 conversations"):
            PromptJudge(lambda conversations, returned=returned: returned)(["p"], ["a"], ["b"])


def test_log_probabilities_before_the_letter_where_there_are_any() -> None:
    template = judge_template("news", "logprobs")
    assert template.settings["logprobs"] and template.max_new_tokens == 1
    # Three to one for the second output, though the letter drawn is that of the first.
    answers = [ModelAnswer("m", top_logprobs=[{"m": -2.0986122886681098, "M": -1.0}]), ModelAnswer("m"), "M", None]
    judge = PromptJudge(lambda conversations: answers, template)
    assert judge(["p"] * 4, ["a"] * 4, ["b"] * 4) == [pytest.approx(1.75, rel=1e-12), 1.0, 2.0, None]
    assert [answer.text for answer in judge.answers] == ["m", "m", "M", None]
