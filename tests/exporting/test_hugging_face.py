"""An export for transformers is the same function: its description, its images, its captions; or it is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import nn

from clip.architectures import TEXT, VIT
from fakes import checkpoints
from starft import load
from starft.__main__ import main
from starft.clip import ClipEncoder
from starft.data.images import ORIENTATION
from starft.errors import ConfigError, WeightsError
from starft.exporting import hugging_face
from starft.exporting.hugging_face import check_hugging_face, write_hugging_face
from starft.inference.classifier import Classifier

CURLY = ("Grévy’s zebra", "rock &amp; stone", "ﬁsh")
"""What open_clip's tokenizer mends: a quote, an entity, a ligature."""


TOKENIZER = SimpleTokenizer()


def model_of(image: Any = None, text: Any = None, **config: Any) -> Classifier:
    """Build a small CLIP with a description of its own, the embedded tokenizer made once for all."""
    text = TEXT | {"context_length": 77} | (text or {})
    given = text.pop("tokenizer_kwargs", None)
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=8, vision_cfg=VIT | (image or {}), text_cfg=text, **config).eval()
    tokenizer = SimpleTokenizer(**given) if given else TOKENIZER
    return Classifier(ClipEncoder(model, tokenizer), ("duck", "gull"), ("a photo of a {}.",), None)


TANH: dict[str, Any] = {"act_kwargs": {"approximate": "tanh"}}
SMALL_EPS: dict[str, Any] = {"norm_kwargs": {"eps": 1e-6}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"quick_gelu": True, "nonscalar_logit_scale": True}, [("quick_gelu", 1e-5), ("quick_gelu", 1e-5)]),
        ({"text": TANH | SMALL_EPS}, [("gelu", 1e-5), ("gelu_pytorch_tanh", 1e-6)]),
        (
            {"image": TANH | SMALL_EPS | {"head_width": 4, "mlp_ratio": 3.0}, "text": {"heads": 4}},
            [("gelu_pytorch_tanh", 1e-6), ("gelu", 1e-5)],
        ),
    ],
    ids=["quick", "text", "image"],
)
def test_the_description_is_the_models(
    options: dict[str, Any], expected: list[tuple[str, float]], tmp_path: Path
) -> None:
    model = model_of(**options)
    check_hugging_face(model)
    write_hugging_face(model, tmp_path / "out")
    assert {p.dtype for p in model.clip.model.parameters()} == {torch.float32}
    made = transformers.CLIPModel.from_pretrained(tmp_path / "out").eval()
    towers = (made.config.vision_config, made.config.text_config)
    assert [(tower.hidden_act, tower.layer_norm_eps) for tower in towers] == expected
    tokens = model.clip.tokenize(["a photo of a duck.", "gull " * 99])
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = made(input_ids=tokens, pixel_values=pixels).logits_per_image
        expected_logits, _ = model.clip.model.get_logits(pixels, tokens)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-5)


def another_activation(config: Any) -> None:
    config.vision_config.hidden_act = "gelu_pytorch_tanh"


def another_eps(config: Any) -> None:
    config.text_config.layer_norm_eps = 1e-6


def fewer_heads(config: Any) -> None:
    config.vision_config.num_attention_heads //= 2


def another_end(config: Any) -> None:
    config.text_config.eos_token_id = 320  # the id of "a"


@pytest.mark.parametrize("change", [another_activation, another_eps, fewer_heads, another_end])
def test_a_wrong_description_is_found(
    change: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of()
    describe = hugging_face._config

    def changed(*given: Any) -> Any:
        config = describe(*given)
        change(config)
        return config

    monkeypatch.setattr(hugging_face, "_config", changed)
    with pytest.raises(WeightsError, match=r"^transformers' CLIP gives other features than this model \(off by "):
        write_hugging_face(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert {p.dtype for p in model.clip.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"image": {"image_size": [32, 64]}}, "images of 32 x 64 in patches of 16 x 16: it wants squares that"),
        ({"image": {"qk_norm": True}}, "open_clip's custom blocks in the image tower"),
        ({"text": {"scale_heads": True}}, "open_clip's custom blocks in the text tower"),
        ({"image": {"ls_init_value": 0.1}}, "layer scale in the image tower"),
        ({"image": {"pool_type": "avg"}}, "such pooling or norms in the image tower"),
        ({"image": {"no_ln_pre": True}}, "such pooling or norms in the image tower"),
        ({"text": {"pool_type": "eos", "eos_id": 49407}}, "such a text tower"),
        ({"text": {"no_causal_mask": True}}, "such a text tower"),
        ({"text": {"tokenizer_kwargs": {"clean": "canonicalize"}}}, "a tokenizer that cleans or shortens"),
        ({"init_logit_bias": -10}, "a bias of the logits"),
    ],
)
def test_what_it_cant_say_is_refused(options: dict[str, Any], why: str) -> None:
    model = model_of(**options)
    with pytest.raises(ConfigError, match=rf"^transformers has no CLIP with {re.escape(why)}.*; take the format "):
        check_hugging_face(model)


def test_norms_and_activations_that_differ_within_a_tower_are_refused() -> None:
    model = model_of()
    model.clip.model.visual.ln_post.eps = 1e-6
    with pytest.raises(ConfigError, match="several values of eps in the norms of the image tower"):
        check_hugging_face(model)
    model.clip.model.visual.ln_post.eps = 1e-5
    for act in (nn.ReLU(), nn.GELU(approximate="tanh")):
        model.clip.model.visual.transformer.resblocks[1].mlp.gelu = act
        with pytest.raises(ConfigError, match="such activations in the image tower"):
            check_hugging_face(model)


@pytest.mark.slow
@pytest.mark.parametrize("linear", [False, True])
def test_the_cards_code_gives_our_predictions(
    linear: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a turned photograph whose crop is off by a pixel in transformers, with names that its tokenizer misreads."""
    checkpoints.write(tmp_path / "last.ckpt", class_names=CURLY, head="linear" if linear else "text")
    assert main(["export", str(tmp_path / "last.ckpt"), f"--to={tmp_path / 'out'}", "--format=hf"]) == 0
    ours = load(tmp_path / "last.ckpt", "cpu")
    monkeypatch.chdir(tmp_path)
    image = Image.effect_noise((334, 500), 90).convert("RGB")
    exif = image.getexif()
    exif[ORIENTATION] = 6
    image.save("photo.jpg", exif=exif)
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    capsys.readouterr()
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "card", "exec"), names)
    (expected,) = ours.predict("photo.jpg")
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(expected.probability, abs=1e-5)
    own = torch.stack([ours.preprocess("photo.jpg")])
    torch.testing.assert_close(torch.from_numpy(names["prepare"]("photo.jpg")), own, rtol=0, atol=1e-6)
    captions = [f"a photo of a {name}." for name in CURLY]
    with torch.no_grad():
        torch.testing.assert_close(names["encode_captions"](captions), ours.encode_text(captions), rtol=0, atol=1e-5)
    assert text.index("CLIPProcessor") > text.index("```python"), "and the card says what the processor does otherwise"
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "out")
    theirs = processor.tokenizer(captions[:1])["input_ids"][0]
    own_tokens = ours.clip.tokenize(captions[:1])[0][: len(theirs)].tolist()
    assert theirs != own_tokens, "it mends quotes by now, so the card needn't"
