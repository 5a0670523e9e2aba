"""The last block of an image tower that pools its class token: computed for that token alone.

In a block each token asks all tokens, through attention, and goes its own way after that. Of the last block only the
class token's output is read, so it is the only one that asks. Nor need the others' keys and values be made. A query q
meets the key W x + b of a token x as q (W x + b) = (q W) x + q b: q W is made once an image, and q b, the same for all
tokens, is nothing to a softmax. The mean of values W x + b with weights a that sum to 1 is W (sum of a x) + b: one
product an image again. Same features, same gradients, to rounding; of twelve blocks' products a twelfth is saved.
"""

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from starft.clip.low_rank import LowRankAttention, updated_weight, updates_of


def pools_class_token(visual: Any) -> bool:
    """Return whether an image tower is one that `class_token_features` computes as it would itself.

    That is open_clip's vision transformer with plain blocks and its class token pooled. A tower that is compiled, that
    recomputes activations, or whose last block or its attention somebody watches by a hook, must be called itself.

    Args:
        visual: Image tower of any open_clip model.
    """
    if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None or visual.pool_type != "tok":
        return False
    transformer = visual.transformer
    last = transformer.resblocks[-1]
    if not isinstance(last, ResidualAttentionBlock) or not transformer.batch_first:
        return False
    compiled = visual._compiled_call_impl is not None
    if type(last.attn) not in (nn.MultiheadAttention, LowRankAttention) or last.attn.dropout:
        return False
    if any(update.dropout for update in updates_of(last.attn).values()):
        return False
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (visual, transformer, last, last.attn))
    return not (compiled or hooked or transformer.grad_checkpointing)


def class_token_features(visual: VisionTransformer, images: Tensor) -> Tensor:
    """Return image features (B, D), not normalised, of images (B, 3, H, W).

    Args:
        visual: A tower that `pools_class_token`.
        images: As the tower wants them.
    """
    x = visual._embeds(images)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    x = x[:, :1] + last.ls_1(_class_token_attention(last.attn, last.ln_1(x)))
    x = x + last.ls_2(last.mlp(last.ln_2(x)))
    features: Tensor = visual._pool(x)[0]
    return features if visual.proj is None else features @ visual.proj


def _class_token_attention(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Return what attention returns for the first of the tokens (B, L, W), as (B, 1, W)."""
    heads = (attention.num_heads, attention.head_dim)
    ask, key, value = updated_weight(attention, "in_proj_weight").view(3, *heads, -1).unbind()
    ask_bias, _, value_bias = attention.in_proj_bias.view(3, *heads).unbind()
    query = torch.einsum("bw,hdw->bhd", x[:, 0], ask) + ask_bias
    asked = torch.einsum("bhd,hdw->bhw", query * attention.head_dim**-0.5, key)
    seen = (asked @ x.mT).softmax(dim=-1).to(x.dtype) @ x
    mean = torch.einsum("bhw,hdw->bhd", seen, value) + value_bias
    answer: Tensor = attention.out_proj(mean.flatten(1))[:, None]
    return answer
