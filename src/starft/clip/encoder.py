"""A CLIP model that takes captions as text, and its frozen twin."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from starft.clip.beginning import Beginning, Tower, compute, given
from starft.clip.last_block import class_token_features, pools_class_token
from starft.clip.packing import Packed, pack
from starft.clip.token_memo import TokenMemo
from starft.errors import ConfigError

Tokenize = Callable[[list[str]], Tensor]

POOLED = ("argmax", "eos")
"""Ways of pooling that take a token of the caption itself, the end."""


@dataclass(frozen=True)
class BegunTexts:
    """Captions that have gone through the beginning of a text tower, together.

    Args:
        rows: Caption -> its row.
        tokens: Their token ids (N, context length), on the host.
        value: What came out of the beginning.
    """

    rows: Mapping[str, int]
    tokens: Tensor
    value: Any


class ClipEncoder(nn.Module):
    """Both towers of a CLIP model behind one interface: images and captions in, unit features out.

    Args:
        model: Any open_clip model.
        tokenize: Turns captions into token ids (N, context length), padded behind the end.
        trim: Leave out what reaches no feature, where a tower allows it: padding of captions, what several begin with
            more than once, and in the image tower's last block all but the class token.
        config: What builds the model again, as in ``open_clip_config.json``; None where that isn't known.
    """

    def __init__(
        self, model: nn.Module, tokenize: Tokenize, trim: bool = True, config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.tokenize = tokenize
        self.trim = trim
        self.micro_batch_size: int | None = None
        """Rows that go through a tower at a time where gradients are wanted; null for all."""
        self.in_bfloat16 = False
        """Whether the towers compute in bfloat16, whatever the precision around them; features stay wide."""
        self.beginnings: dict[Tower, Beginning] = {}
        """What of a tower is computed once for student and teachers, while a run trains."""
        self.config: dict[str, Any] = dict(config or {})
        self._tokens = TokenMemo()

    def train(self, mode: bool = True) -> Self:
        """Train what is trained: a part that is frozen as a whole stays in eval mode.

        So its batch norms keep their statistics, and its dropout drops nothing.
        """
        super().train(mode)
        for part in self.model.modules():
            parameters = list(part.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                part.eval()
        return self

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosine similarities, exponentiated; a scalar."""
        scale: Tensor = self.model.logit_scale
        return scale.to(torch.promote_types(scale.dtype, torch.float32)).exp().reshape(())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        scale: Tensor = self.model.logit_scale
        return scale.device

    def begin_images(self, images: Tensor) -> Tensor | None:
        """Return what comes out of the image tower's beginning (B, ...), without a graph; None where there is none."""
        if (beginning := self._beginning("image")) is None:
            return None
        encode = partial(self._encode, self._encode_images)
        chunks = images.split(self.micro_batch_size or len(images))  # type: ignore[no-untyped-call]
        return torch.cat([compute(beginning, self.model, partial(encode, chunk)) for chunk in chunks])

    def begin_texts(self, captions: Sequence[str]) -> BegunTexts | None:
        """Return captions behind the text tower's beginning, without a graph; None where there is none."""
        beginning = self._beginning("text")
        if beginning is None or not captions:
            return None
        distinct = list(dict.fromkeys(captions))
        tokens = self._tokenized(distinct)
        value = compute(beginning, self.model, partial(self._encode, self._encode_tokens, tokens))
        return BegunTexts({caption: row for row, caption in enumerate(distinct)}, tokens, value)

    def encode_image(self, images: Tensor, begun: Tensor | None = None) -> Tensor:
        """Return unit features (B, D) of images (B, 3, H, W).

        Args:
            images: As the model wants them.
            begun: What `begin_images` returned for them, to go on from where this model has that beginning, too.
        """
        encode = partial(self._encode, self._encode_images)
        if begun is None or "image" not in self.beginnings:
            return F.normalize(self._in_chunks(encode, images), dim=-1)
        return F.normalize(self._in_chunks(partial(self._go_on, "image", encode), images, begun), dim=-1)

    def encode_text(self, captions: Sequence[str], begun: BegunTexts | None = None) -> Tensor:
        """Return unit features (N, D) of N captions; each distinct caption goes through the tower once.

        Args:
            captions: Any.
            begun: What `begin_texts` returned for these and others, to go on from where that costs less.
        """
        distinct: Mapping[str, int] = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        if begun is not None and self._costs_less(begun, distinct):
            encode, distinct = partial(self._encode, self._encode_tokens), begun.rows
            features = F.normalize(self._go_on("text", encode, begun.tokens, begun.value), dim=-1)
        else:
            features = self.encode_tokens(self._tokenized(list(distinct)))
        if list(distinct) == list(captions):
            return features
        rows = torch.tensor([distinct[caption] for caption in captions])
        return features[rows.to(self.device, non_blocking=True)]

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return unit features (N, D) of token ids (N, context length) on the host."""
        return F.normalize(self._in_chunks(partial(self._encode, self._encode_tokens), tokens), dim=-1)

    def _encode(self, encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        if not self.in_bfloat16:
            return encode(rows)
        with torch.autocast(self.device.type, torch.bfloat16):
            return encode(rows).float()

    def _encode_images(self, images: Tensor) -> Tensor:
        if self.trim and pools_class_token(self.model.visual):
            return class_token_features(self.model.visual, images)
        features: Tensor = self.model.encode_image(images)
        return features

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        tower = text_tower_of(self.model)
        if self.trim and _is_causal(tower):
            return _encode_packed(tower, tokens, self.device)
        if self.trim and isinstance(tower, HFTextEncoder):
            tokens = _without_padding(tower, tokens)
        features: Tensor = self.model.encode_text(tokens.to(self.device, non_blocking=True))
        return features

    def _beginning(self, tower: Tower) -> Beginning | None:
        """Return what is shared of a tower, as long as it stays frozen: a callback may thaw it."""
        beginning = self.beginnings.get(tower)
        if beginning is None or any(weight.requires_grad for weight in beginning.weights(self.model)):
            return None
        return beginning

    def _costs_less(self, begun: BegunTexts, captions: Mapping[str, int]) -> bool:
        """Return whether to go on with all captions that have begun costs less than to encode these alone."""
        beginning = self.beginnings.get("text")
        if beginning is None or not begun.rows.keys() >= captions.keys():
            return False
        return len(captions) >= (1 - beginning.share) * len(begun.rows)

    def _go_on(self, tower: Tower, encode: Callable[[Tensor], Tensor], rows: Tensor, begun: Any) -> Tensor:
        with given(self.beginnings[tower], self.model, begun):
            return encode(rows)

    def _in_chunks(self, encode: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Return what ``encode`` makes of all rows, a micro batch at a time.

        No activations are kept: on the way back each micro batch is encoded again, with the same random draws.
        """
        size = self.micro_batch_size
        if size is None or len(rows[0]) <= size or not torch.is_grad_enabled():
            return encode(*rows)
        return torch.cat([checkpoint(encode, *chunk, use_reentrant=False) for chunk in _split(size, *rows)])

    def _tokenized(self, captions: list[str]) -> Tensor:
        unknown = [caption for caption in captions if caption not in self._tokens]
        new: dict[str, Tensor] = {}
        if unknown:
            tokens = self.tokenize(unknown)
            check_vocabulary("this model", self.model, tokens)
            self._tokens.keep(unknown, tokens)
            new = dict(zip(unknown, tokens, strict=True))
        return torch.stack([new[caption] if caption in new else self._tokens[caption] for caption in captions])


class Twin(ClipEncoder):
    """The frozen copy of a CLIP model: no gradients, always in eval mode.

    Args:
        clip: The model to copy, as it is now.
        shares: Whether it has the weights that are frozen in the model in common with it, in place of copies.
    """

    def __init__(self, clip: ClipEncoder, shares: bool = False) -> None:
        frozen = {id(weight): weight for weight in clip.parameters() if shares and not weight.requires_grad}
        super().__init__(deepcopy(clip.model, frozen), clip.tokenize, clip.trim)
        self._tokens = clip._tokens  # both read the same captions
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever ``mode`` says."""
        return super().train(False)

    def _in_chunks(self, encode: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        size = self.micro_batch_size
        return encode(*rows) if size is None else torch.cat([encode(*chunk) for chunk in _split(size, *rows)])

    @torch.no_grad()
    def encode_image(self, images: Tensor, begun: Tensor | None = None) -> Tensor:
        """Return unit features (B, D) of images (B, 3, H, W), without a graph."""
        return super().encode_image(images, begun)

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str], begun: BegunTexts | None = None) -> Tensor:
        """Return unit features (N, D) of N captions, without a graph.

        Nothing is remembered between steps: a caption's last digits depend on the batch it is encoded in, and a run
        that is continued must see the same ones.
        """
        return super().encode_text(captions, begun)

    @torch.no_grad()
    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return unit features (N, D) of token ids (N, context length) on the host, without a graph."""
        return super().encode_tokens(tokens)


def _split(size: int, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(part.split(size) for part in rows), strict=True)  # type: ignore[no-untyped-call]


def text_tower_of(model: Any) -> Any:
    """Return what holds the text tower's parts: a module of its own, or the model itself in open_clip's plain CLIP.

    Args:
        model: Any open_clip model.
    """
    return model.text if hasattr(model, "text") else model


def check_vocabulary(name: str, model: Any, tokens: Tensor) -> None:
    """Refuse token ids that a model has no embedding for.

    Args:
        name: What messages call it.
        model: Any open_clip model.
        tokens: Of captions.

    Raises:
        ConfigError: Its vocabulary is smaller than its tokenizer's.
    """
    size, largest = _vocabulary(model), int(tokens.max())
    if size is not None and largest >= size:
        raise ConfigError(
            f"The vocabulary of {name} has {size} tokens and its tokenizer gives the id {largest}: it is smaller than "
            "the tokenizer's; set text_cfg.vocab_size to that, or text_cfg.hf_tokenizer_name to the model's tokenizer."
        )


def _vocabulary(model: Any) -> int | None:
    tower = text_tower_of(model)
    embedding = getattr(tower, "token_embedding", None)
    if embedding is None and hasattr(tower, "transformer"):  # of transformers
        embedding = tower.transformer.get_input_embeddings()
    return embedding.num_embeddings if isinstance(embedding, nn.Embedding) else None


def _is_causal(tower: Any) -> bool:
    """Return whether the text tower pools a token of the caption and no token looks at what comes behind it.

    That is so for CLIP's own kind. It isn't for SigLIP and others without a causal mask, for towers of transformers
    (`_without_padding`), for CoCa's class token, which stands behind the padding, and for towers that pool the last
    place whatever is there.
    """
    if not isinstance(tower, open_clip.CLIP | TextTransformer):
        return False
    return tower.attn_mask is not None and getattr(tower, "cls_emb", None) is None and _pooling(tower) in POOLED


def _pooling(tower: Any) -> str:
    return str(tower.text_pool_type if isinstance(tower, open_clip.CLIP) else tower.pool_type)


def _pooled(tower: Any, tokens: Tensor) -> Tensor:
    """Return the place (N,) in each row of token ids (N, L) that the tower pools, as open_clip finds it."""
    if _pooling(tower) == "argmax":
        return tokens.argmax(dim=-1)
    end: int = tower.text_eos_id if isinstance(tower, open_clip.CLIP) else tower.eos_id
    return tokens.eq(end).int().argmax(dim=-1)


def _packed(tower: Any, tokens: Tensor) -> Packed:
    """Return token ids (N, context length) as rows that share, made on the host so that nothing waits."""
    places = _pooled(tower, tokens).numpy().tolist()
    return pack([row[: place + 1] for row, place in zip(tokens.numpy().tolist(), places, strict=True)])


def _without_padding(tower: HFTextEncoder, tokens: Tensor) -> Tensor:
    """Return token ids (N, context length) cut to the longest caption: towers of transformers mask their padding."""
    (read,) = (tokens != tower.config.pad_token_id).any(dim=0).nonzero(as_tuple=True)
    return tokens[:, : int(read[-1]) + 1]


def _encode_packed(tower: Any, tokens: Tensor, device: torch.device) -> Tensor:
    """Return text features (N, D), not normalised, of token ids (N, context length) on the host.

    What lies behind a caption's pooled place is left out, and beginnings that captions share are encoded once.
    """
    packed = _packed(tower, tokens)
    ids, positions, rows, columns = (
        part.to(device, non_blocking=True) for part in (packed.tokens, packed.positions, packed.rows, packed.columns)
    )
    x: Tensor = tower.token_embedding(ids) + tower.positional_embedding[positions]
    mask = packed.mask(tower.transformer.resblocks[0].attn.num_heads, device, x.dtype)
    x = tower.transformer(x, attn_mask=mask)
    x = tower.ln_final(x[rows, columns])
    if tower.text_projection is None:
        return x
    projection = tower.text_projection
    projected: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return projected
