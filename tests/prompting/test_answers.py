"""What a model rejected, or said beside its answer, never becomes the answer: every form that answers take."""

import pytest

from starft.prompting.answers import Reading, UnusableAnswer, read_answer, without_thoughts

FINAL = '{"templates": ["in the snow", "at dawn"]}'
DRAFT = '{"templates": ["on a draft"]}'
DRAFT_LIST = "1. on a draft\n2. by a draft"
TAGS = ["think", "thinking", "thought", "Thoughts", "reasoning", "REASON", "reflection", "scratchpad", "seed:think"]


@pytest.mark.parametrize("draft", [DRAFT, DRAFT_LIST, f"```json\n{DRAFT}\n```", "hm", f"<think>{DRAFT}</think>"])
@pytest.mark.parametrize("tag", TAGS)
def test_a_draft_in_thoughts_is_no_answer(tag: str, draft: str) -> None:
    assert read_answer(f"<{tag}>{draft}</{tag}>\n{FINAL}").texts == ["in the snow", "at dawn"]
    assert read_answer(f'<{tag} time="3">{draft}</{tag}>1. in the snow\n2. at dawn').texts == ["in the snow", "at dawn"]
    assert read_answer(f"{draft}</{tag}>{FINAL}").texts == ["in the snow", "at dawn"], (
        "the template wrote the opening tag"
    )
    for reason in ("stop", "length", "abort"):
        with pytest.raises(UnusableAnswer, match="thought that doesn't end"):
            read_answer(f"<{tag}>\n{draft}", reason)
    with pytest.raises(UnusableAnswer, match="nothing but a thought"):
        read_answer(f"<{tag}>{draft}</{tag}>")


@pytest.mark.parametrize(
    "text",
    [
        f"[THINK]{DRAFT}[/THINK]{FINAL}",
        f"◁think▷{DRAFT}◁/think▷{FINAL}",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>{FINAL}",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{FINAL}<|return|>",
        f"<|channel>thought\n{DRAFT}<channel|>{FINAL}",
        f"&lt;think&gt;{DRAFT}&lt;/think&gt;{FINAL}",
        f"<think>{DRAFT}</thinking>{FINAL}",
        f"{FINAL}<|end|>",
        f"<answer>{FINAL}</answer>",
        f"```json\n{FINAL}\n```\n```\n{FINAL}\n```",
    ],
)
def test_every_family_of_models_thinks_in_tags_of_its_own(text: str) -> None:
    assert read_answer(text).texts == ["in the snow", "at dawn"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"```json\n{DRAFT}\n```\nBetter:\n```json\n{FINAL}\n```", "holds 2 JSON values"),
        (f"{DRAFT}\n{FINAL}", "holds 2 JSON values"),
        ('{"phrase": "in the snow"}\n{"phrase": "at dawn"}', "holds 2 JSON values"),
        (f"I should answer like {DRAFT} I think.\n1. in the snow\n2. at dawn", "holds JSON and a list"),
        ('{"templates": ["on a draft"], "templates": ["in the snow"]}', "has the key 'templates' twice"),
        ('Sure: {"a": {"x": 1, "x": 2}, "templates": ["in the snow"]}', "has the key 'x' twice"),
        (f"{DRAFT_LIST}\n\nBetter:\n1. in the snow\n2. at dawn", "holds two lists"),
        (f"{DRAFT_LIST}\n1. in the snow\n2. at dawn", "holds two lists"),
        ("- on a draft\n\nFinal list\n\n- in the snow", "holds two lists"),
        ("- on a draft\n<think>no</think>\n- in the snow", "holds two lists"),
        ("```\n- on a draft\n```\nor\n```\n- in the snow\n```", "holds two lists"),
        ("1. Weather\n- in fog\n- in snow\n2. Places\n- on a lake", "mixes numbers and dots"),
        ("1. Weather\n   - in fog\n   - in snow\n2. Places\n   - on a lake", "list in a list"),
        (f"<brainstorm>{DRAFT}", "inside of <brainstorm>"),
        ("<ideas>\n- on a draft", "inside of <ideas>"),
        ("1. Weather:\n2. Places:", "list of headings"),
        ("[" * 5000, "broken JSON|breaks off"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_not_read(text: str, why: str) -> None:
    with pytest.raises(UnusableAnswer, match=why):
        read_answer(text)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "abort", "model_length", "MAX_TOKENS"])
def test_what_was_cut_is_no_answer_unless_it_is_whole(reason: str) -> None:
    assert read_answer(FINAL, reason).texts == ["in the snow", "at dawn"]
    for text in (f"{DRAFT} no, rather", "1. in the snow\n2. at da", f"First {DRAFT}", FINAL[:-5]):
        with pytest.raises(UnusableAnswer, match="breaks off"):
            read_answer(text, reason)


def test_headings_and_lines_beside_a_list_are_left_out_and_told() -> None:
    text = "Sure!\n# List\n- **Weather:**\n- in the snow\n  (white)\n- at dawn\nLet me know if you need more."
    reading = read_answer(text)
    assert reading.texts == ["at dawn"]
    assert reading.left_out == [
        ("Sure!", "stands outside the list"),
        ("# List", "stands outside the list"),
        ("**Weather:**", "is a heading of the list"),
        ("in the snow", "goes on in a line that is no item of the list"),
        ("(white)", "stands outside the list"),
        ("Let me know if you need more.", "stands outside the list"),
    ]
    nested = "- **Weather**:\n  - in the snow\n  - in fog\n- **Time**:\n  - at dawn"
    assert read_answer(nested).texts == ["in the snow", "in fog", "at dawn"]
    assert read_answer("- **Weather**\n- in the snow\n- at dawn").texts == ["in the snow", "at dawn"]
    assert read_answer("1. {} in the snow\n2. {} at dawn").texts == ["{} in the snow", "{} at dawn"]


@pytest.mark.parametrize("text", ['{"templates": [%s]}', "[%s]", "So: [[%s]]"])
def test_a_number_of_thousands_of_digits_is_one_sentence(text: str) -> None:
    with pytest.raises(UnusableAnswer, match="isn't of the form"):
        read_answer(text % ("9" * 5000))
    assert read_answer('{"n": %s, "templates": ["at dawn"]}' % ("9" * 5000)).texts == ["at dawn"]


def test_thoughts_come_back() -> None:
    assert without_thoughts("<think>a <think>b</think> c</think>rest") == ("rest", "a <think>b</think> c")
    assert without_thoughts("a</think>b<think>c</think>d")[0] == "b\n[thought]\nd"
    assert without_thoughts("a thinking cap on <b>") == ("a thinking cap on <b>", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("**Thinking:**\n1. on a draft\n2. by a draft", "stands behind '**Thinking:**'"),
        ("Here is my thought process:\n- on a draft", "stands behind 'Here is my thought process:'"),
        ("## Draft\n- on a draft", "stands behind '## Draft'"),
        ("Rejected phrases:\n- on a draft", "stands behind 'Rejected phrases:'"),
        (f"First attempt: {DRAFT}", "stands behind 'First attempt:'"),
        ("I can’t help with that. Instead you could:\n- read a book", "stands behind"),
        (f"<|thinking|>{DRAFT}<|/thinking|>", "stands behind <|thinking|>"),
        (f"<|inner_prefix|>\n{DRAFT_LIST}", "stands behind <|inner_prefix|>"),
        (f"{DRAFT}\nWait, that's wrong. Better: in the snow, at dawn", "is taken back behind it: \"Wait, that's wrong"),
        ("Bad examples:\n- on a draft", "stands behind 'Bad examples:'"),
        ("Do not use these:\n- on a draft", "stands behind 'Do not use these:'"),
        ("These are the ones to avoid:\n- on a draft", "stands behind 'These are the ones to avoid:'"),
        ("Unused ideas:\n1. on a draft", "stands behind 'Unused ideas:'"),
        (f"{DRAFT_LIST}\n\nI should not have used these.", "is taken back behind it: 'I should not"),
        (f"{DRAFT_LIST}\n\nA better version would be {{}} at dawn.", "is taken back behind it: 'better version"),
        (f"{DRAFT}\nThese are not good, replace them with {{}} at dawn.", "is taken back behind it: 'These are not"),
        (f'{DRAFT[:-1]}, "final_templates": ["at dawn"]}}', "has templates and 'final_templates' in one object"),
        (f'{DRAFT[:-1]}, "revision": {{"templates": ["at dawn"]}}}}', "has templates and 'revision' in one object"),
        (f"{DRAFT_LIST}\n\nHmm, these are wrong.", "is taken back behind it: 'Hmm"),
        ("* on a draft\n* by a draft\n\n- in the snow\n- at dawn", "holds two lists"),
        ('{"templates": ["on a draft"], "Templates": ["in the snow"]}', "has the key 'templates' twice"),
    ],
)
def test_what_a_model_calls_a_draft_is_no_answer(text: str, why: str) -> None:
    with pytest.raises(UnusableAnswer) as caught:
        read_answer(text)
    assert str(caught.value).startswith(why)


def test_a_remark_on_the_slot_takes_nothing_back() -> None:
    for remark in ("You can replace {} with any class.", "Each holds {} once, for a better caption."):
        assert read_answer(f"1. in the snow\n2. at dawn\n\n{remark}").texts == ["in the snow", "at dawn"]
        assert read_answer(f'{{"templates": ["in the snow"], "note": "{remark}"}}').texts == ["in the snow"]


@pytest.mark.parametrize(
    "text",
    [
        f"<|channel|>analysis<|message|>{DRAFT_LIST}<|end|><|start|>assistant<|channel|>final<|message|>"
        "1. in the snow\n2. at dawn<|return|>",
        "<|START_RESPONSE|>- in the snow\n- at dawn<|END_RESPONSE|>",
        "<|im_start|>- in the snow\n- at dawn<|im_end|>",
        "- in the snow\n- at dawn</s>",
        "- in the snow\n- at dawn<end_of_turn>",
    ],
)
def test_tokens_of_chat_templates_cost_no_phrase(text: str) -> None:
    assert read_answer(text) == Reading(["in the snow", "at dawn"])


@pytest.mark.parametrize(
    "before",
    [
        "Here are phrases that avoid the class name:",
        "Thinking of backgrounds, these are common:",
        "Final list:",
        "Sure!",
    ],
)
def test_other_words_before_a_list_are_no_heading_of_drafts(before: str) -> None:
    assert read_answer(f"{before}\n- in the snow\n- at dawn").texts == ["in the snow", "at dawn"]
