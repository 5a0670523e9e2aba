"""A model's thoughts in the text of its answer: drafts stand there, so nothing of them may pass for the answer."""

import re

_NAME = r"(?:\w+:)?(?:think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad|inner_monologue|draft)"
_OPENING = re.compile(
    rf"(?:<|&lt;){_NAME}\b[^<>&]*(?:>|&gt;)|\[THINK\]|◁think▷|<\|(?:begin_of_thought|start_thinking)\|>"
    r"|<\|?channel\|?>\s*(?:analysis|commentary|thought)(?:<\|message\|>)?",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"(?:<|&lt;)/{_NAME}\s*(?:>|&gt;)|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|end_thinking|end)\|>|<channel\|>",
    re.IGNORECASE,
)

THOUGHT = "[thought]"
"""The line that stands where a thought was taken out, so that what was before and behind it isn't joined."""


class UnfinishedThought(ValueError):  # noqa: N818  # what came of a question
    """A thought that has no end: nothing behind its beginning is an answer."""


def without_thoughts(text: str) -> tuple[str, str]:
    """Return a text without the thoughts in it, and the thoughts.

    A closing tag alone ends a thought that began before the text, as where a chat template has written the opening.

    Args:
        text: What a model wrote.

    Raises:
        UnfinishedThought: A thought begins and doesn't end.

    Example:
        >>> without_thoughts("<think>1. on a draft</think>1. at dawn")
        ('1. at dawn', '1. on a draft')
    """
    tags = sorted(
        [(tag.start(), tag.end(), 1) for tag in _OPENING.finditer(text)]
        + [(tag.start(), tag.end(), -1) for tag in _CLOSING.finditer(text)]
    )
    thoughts, rest, depth, begin, end = list[str](), list[str](), 0, 0, 0
    for start, stop, step in tags:
        if step == 1:
            if depth == 0:
                rest.append(text[end:start])
                begin = stop
            depth += 1
        elif depth == 0 and text[start : start + 2] in ("<|", "<c"):  # an end of any kind
            rest.append(text[end:start])
        elif depth == 0:  # all until here was a thought, what looked like an answer too
            thoughts, rest = [text[:start]], []
        else:
            depth -= 1
            if depth == 0:
                thoughts.append(text[begin:start])
        end = stop if step == -1 else end
    if depth:
        raise UnfinishedThought
    rest.append(text[end:])
    kept = [part.strip() for part in rest if part.strip()]
    return f"\n{THOUGHT}\n".join(kept), "\n".join(thought.strip() for thought in thoughts if thought.strip())
