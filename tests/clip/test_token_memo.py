"""Token ids that are kept: those of the tokenizer, made once for student and twin, of no more captions than fit."""

import pytest
import torch
from torch import Tensor

from starft.clip import Twin, build_clip, token_memo
from starft.clip.token_memo import TokenMemo


@pytest.mark.parametrize(
    "rows",
    [
        [[5, 7, 9, 0, 0], [5, 9, 0, 0, 0], [5, 1, 2, 3, 9]],
        [[7, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 250_000, 3, 1, 1]],
        [[0, 0, 5, 0, 9], [3, 3, 4, 4, 4], [4, 3, 3, 3, 4]],
    ],
    ids=["zeros", "end-as-padding", "cut"],
)
def test_ids_come_back_as_they_were(rows: list[list[int]]) -> None:
    memo = TokenMemo()
    memo.keep(["a", "b", "c"], torch.tensor(rows))
    assert [memo[caption].tolist() for caption in "abc"] == rows
    assert memo["a"].dtype == torch.int64


def test_a_caption_is_tokenized_once_for_student_and_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_memo, "MOST_KEPT", 3)
    clip = build_clip("starft-mini", "mini")
    tokenize, asked = clip.tokenize, list[str]()

    def noted(captions: list[str]) -> Tensor:
        asked.extend(captions)
        return tokenize(captions)

    clip.tokenize = noted
    twin = Twin(clip)
    captions = ["a duck.", "an owl on a lake.", "a duck.", "a crow."]
    features = clip.encode_text(captions)
    assert torch.equal(twin.encode_text(captions), features.detach())
    assert asked == ["a duck.", "an owl on a lake.", "a crow."]
    more = [*captions, "a gull."]
    for _ in range(2):
        torch.testing.assert_close(clip.encode_text(more)[:4], features, rtol=1e-5, atol=1e-6)
    assert asked[3:] == ["a gull.", "a gull."], "there is no room for it"
