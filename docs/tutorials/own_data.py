"""From a table of your own images to predictions for new ones.

``python docs/tutorials/own_data.py photos.csv new_photos``: the table has a row an image, ``path,label`` and, if
you know what the model might lean on, ``attribute``; see docs/data.md. Add options of `starft fit` behind, such as
``--model.model_name=starft-mini --model.pretrained=mini --trainer.precision=32-true`` to try it without a GPU.
"""

import sys
from pathlib import Path

import pandas as pd

from starft import load
from starft.__main__ import main as starft

RUN = Path("runs/own")


def main(table: str, new_photos: str, options: list[str]) -> None:
    common = [f"--data.init_args.file={table}", f"--trainer.default_root_dir={RUN}", *options]

    # 1. What is wrong with the data? Files, labels, groups, the same picture in train and test.
    if starft(["data", "check", "--config=csv/starft", *common]):
        sys.exit("Mend the data first.")

    # 2. Train, then test what the validation set chose. The run folder keeps its config.
    starft(["fit", "--config=csv/starft", *common])
    best = RUN / "checkpoints" / "best.ckpt"
    starft(["test", f"--config={RUN / 'config.yaml'}", f"--ckpt_path={best}"])

    # 3. Predict a folder of new images: a row each, in order; images that can't be read are told and skipped.
    starft(["predict", str(best), new_photos, f"--out={RUN / 'predictions.csv'}", "--top-k=2"])
    predictions = pd.read_csv(RUN / "predictions.csv")
    print(predictions.label.value_counts())

    # 4. Look at the least sure ones first, and at their features.
    doubtful = predictions.sort_values("probability").head(5)
    print(doubtful)
    features = load(best).encode(doubtful.path)
    print("cosines among them:", features @ features.T)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
