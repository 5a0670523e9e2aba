"""The last block of an image tower that pools its class token: computed for that token alone.

In a block each token asks all tokens, through attention, and goes its own way after that. Of the last block only the
class token's output is read. So it is the only one that asks: the others give their keys and values, and nothing more.
Same features, same gradients, to rounding; of twelve blocks' products about a fourteenth is saved.
"""

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor


def pools_class_token(visual: Any) -> bool:
    """Return whether an image tower is one that `class_token_features` computes as it would itself.

    That is open_clip's vision transformer with plain blocks and its class token pooled. A tower that is compiled, that
    recomputes activations, or whose last block somebody watches by a hook, must be called itself.

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
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (visual, transformer, last))
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
    tokens = last.ln_1(x)
    x = x[:, :1] + last.ls_1(last.attention(tokens[:, :1], tokens, tokens))
    x = x + last.ls_2(last.mlp(last.ln_2(x)))
    features: Tensor = visual._pool(x)[0]
    return features if visual.proj is None else features @ visual.proj
