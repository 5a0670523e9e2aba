#!/usr/bin/env bash
# transformers 5.24.0: CLIPImageProcessor crops the middle one pixel beside where torchvision does, which open_clip crops
# with, if the long side less the crop leaves 3 when divided by 4: (335 - 224) / 2 = 55.5 is 55 for one and 56 for the
# other. Photographs of 640 x 427 and 500 x 334 pixels are resized to 335 x 224. A CLIP model moved from one library to the
# other sees other pixels of the same file.
# Seen: 5.24.0 width 335: processor starts at 55, torchvision at 56; width 336: 56 and 56
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "transformers==5.24.0" "torch==2.14.1" "torchvision==0.29.1" "pillow==13.0.0" "numpy<3"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import transformers
from PIL import Image
from torchvision.transforms import CenterCrop
from transformers import CLIPImageProcessor

processor = CLIPImageProcessor(do_resize=False, do_rescale=False, do_normalize=False)
starts = {}
for width in (335, 336):
    columns = np.broadcast_to(np.arange(width, dtype=np.uint16) % 256, (224, width)).astype(np.uint8)
    image = Image.fromarray(np.stack([columns] * 3, axis=-1))
    theirs = processor(image, return_tensors="np")["pixel_values"][0]
    starts[width] = int(theirs[0, 0, 0]), int(np.asarray(CenterCrop(224)(image))[0, 0, 0])
print(
    f"{transformers.__version__} width 335: processor starts at {starts[335][0]}, torchvision at {starts[335][1]};"
    f" width 336: {starts[336][0]} and {starts[336][1]}"
)
assert starts == {335: (55, 56), 336: (56, 56)}, "the behaviour has changed"
PYTHON
