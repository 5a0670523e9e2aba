"""The code in a model card: load the export, and classify one image with it."""

import json

from starft.safe_text import visible
from starft.types import ImagePreprocessing

OPEN_CLIP = """import json

import open_clip
import torch
from PIL import Image, ImageOps
{imports}
{folder}
model, _, preprocess = open_clip.create_model_and_transforms({open_clip})
tokenizer = open_clip.get_tokenizer({open_clip})
model.eval()
with open(f"{{folder}}/starft.json", encoding="utf-8") as file:
    about = json.load(file)
names = about["class_names"]
{head}

image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
with torch.no_grad():
    features = model.encode_image(preprocess(image).unsqueeze(0), normalize=True)
    probabilities = (features @ head).softmax(dim=-1)[0]
print(names[int(probabilities.argmax())], float(probabilities.max()))
```

or by `pip install starft`:

```python
{folder}
from starft import load

print(load(folder).predict("photo.jpg"))"""

TEXT_HEAD = """head = open_clip.build_zero_shot_classifier(model, tokenizer, names, about["templates"])
head = head * model.logit_scale.exp().detach()"""
LINEAR_HEAD = """head = load_file(f"{folder}/head.safetensors")["head"].T  # the trained head"""

HF = """import html
import json

import ftfy  # pip install ftfy
import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPTokenizer
{imports}
{folder}
model, tokenizer = CLIPModel.from_pretrained({name}), CLIPTokenizer.from_pretrained({name})
model.eval()
with open(f"{{folder}}/starft.json", encoding="utf-8") as file:
    about = json.load(file)
names = about["class_names"]


{prepare}


@torch.no_grad()
def encode_image(path):
    \"\"\"Return unit features (1, D) of one image.\"\"\"
    pixels = torch.from_numpy(prepare(path))
    return normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output), dim=-1)


@torch.no_grad()
def encode_captions(captions):
    \"\"\"Return unit features (N, D) of captions, cleaned as they were in training.\"\"\"
    texts = [html.unescape(html.unescape(ftfy.fix_text(caption))) for caption in captions]
    texts = [" ".join(text.split()).lower() for text in texts]
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return normalize(model.text_projection(model.text_model(**tokens).pooler_output), dim=-1)


{head}

probabilities = (encode_image("photo.jpg") @ head).softmax(dim=-1)[0]
print(names[int(probabilities.argmax())], float(probabilities.max()))"""
HF_TEXT_HEAD = """captions = [[template.replace("{}", name) for template in about["templates"]] for name in names]
head = normalize(torch.stack([encode_captions(some).mean(dim=0) for some in captions]), dim=-1).T
head = head * model.logit_scale.exp().detach()"""
NEAR = (
    "This code prepares images and captions as they were in training. `CLIPProcessor`, which lies beside the model for "
    "pipelines, comes near: it doesn't turn photographs as EXIF says; it crops one pixel off where the longer side, "
    "resized, less the crop leaves 3 when divided by 4 (640 x 427 and 500 x 334 at 224 pixels); it doesn't mend curly "
    "quotes, HTML entities, ligatures and broken letters, so that a curly apostrophe gives other tokens. Measured on "
    "300 drawings with a model of 64 pixels, that one pixel moved some class's probability by 4.6 points in the mean "
    "and changed 11 predictions; of 224 pixels one is less."
)
"""What a card says of transformers' own processor; measured on the embedded world's model and drawings."""

ONNX = """import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

{folder}
session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx")
with open(f"{{folder}}/starft.json", encoding="utf-8") as file:
    names = json.load(file)["class_names"]


{prepare}


features, logits = session.run(None, {{"image": prepare("photo.jpg")}})  # (1, D) of unit length, (1, C)
scores = np.exp(logits[0] - logits[0].max())
probabilities = scores / scores.sum()
print(names[probabilities.argmax()], probabilities.max())"""

HEAD = """{folder}
from safetensors.torch import load_file

head = load_file(f"{{folder}}/head.safetensors")["head"]  # (classes, features), scaled
logits = features @ head.T  # features: unit image features of the model"""

PREPARE = '''def prepare(path):
    """Return one image as the model takes it, float32 (1, 3, {height}, {width})."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    {resize}
    pixels = np.asarray(image, dtype=np.float32) / 255
    mean = np.array({mean}, dtype=np.float32)
    std = np.array({std}, dtype=np.float32)
    return ((pixels - mean) / std).transpose(2, 0, 1)[None]'''

CROP = """left, top = round((image.width - {width}) / 2), round((image.height - {height}) / 2)
image = image.crop((left, top, left + {width}, top + {height}))"""
PAD = """canvas = Image.new("RGB", ({width}, {height}), ({fill}, {fill}, {fill}))
canvas.paste(image, (({width} - image.width) // 2, ({height} - image.height) // 2))
image = canvas"""
SCALED = (
    """image = image.resize((round(image.width / ratio), round(image.height / ratio)), Image.Resampling.{filter})"""
)


def usage(form: str, name: str, on_hub: bool, linear: bool, preprocessing: ImagePreprocessing) -> str:
    """Return the code of a card, without the fences around it.

    Args:
        form: Which format.
        name: How the folder, or the hub's repository, is called.
        on_hub: Whether the name is that of a repository of the hub.
        linear: Whether there is a trained head.
        preprocessing: How the model wants its images.
    """
    quoted = visible(json.dumps(name, ensure_ascii=False))
    text_head = HF_TEXT_HEAD if form == "hf" else TEXT_HEAD
    folder = f"folder = {quoted}  # where this README.md lies"
    if on_hub:
        folder = f"from huggingface_hub import snapshot_download\n\nfolder = snapshot_download({quoted})"
    template = {"open_clip": OPEN_CLIP, "hf": HF, "onnx": ONNX, "head": HEAD}[form]
    return template.format(
        name=quoted,
        open_clip=visible(json.dumps(f"hf-hub:{name}", ensure_ascii=False)) if on_hub else 'f"local-dir:{folder}"',
        folder=folder,
        imports="from safetensors.torch import load_file\n" if linear else "",
        head=LINEAR_HEAD if linear else text_head,
        prepare=prepare_code(preprocessing),
    )


def prepare_code(preprocessing: ImagePreprocessing) -> str:
    """Return a function ``prepare(path)`` that needs Pillow and numpy alone and does what `eval_transform` does.

    Args:
        preprocessing: What the model wants.
    """
    height, width = preprocessing.size
    kind = "BILINEAR" if preprocessing.interpolation == "bilinear" else "BICUBIC"
    if preprocessing.resize_mode == "squash":
        steps = [f"image = image.resize(({width}, {height}), Image.Resampling.{kind})"]
    elif preprocessing.resize_mode == "longest":
        steps = [f"ratio = max(image.width / {width}, image.height / {height})", SCALED, PAD]
    elif height == width:
        size = f"{width} * image.width // short, {height} * image.height // short"
        steps = ["short = min(image.size)", f"image = image.resize(({size}), Image.Resampling.{kind})", CROP]
    else:  # here open_clip's own resizing is bicubic whatever is asked for
        kind = "BICUBIC"
        steps = [f"ratio = min(image.width / {width}, image.height / {height})", SCALED, CROP]
    message = "\n".join(steps).format(width=width, height=height, fill=preprocessing.fill_color, filter=kind)
    return PREPARE.format(
        height=height,
        width=width,
        resize=message.replace("\n", "\n    "),
        mean=list(preprocessing.mean),
        std=list(preprocessing.std),
    )
