"""From a shipped config to a model in use, on the embedded world: nothing is downloaded, a CPU will do.

Run it where a folder ``runs/tutorial`` may be made: ``python docs/tutorials/embedded_world.py``.
It takes a few minutes.
"""

import json
import sys
from pathlib import Path

from PIL import Image

from starft import load
from starft.__main__ import main as starft
from starft.mini.world import Picture, draw

RUN = Path("runs/tutorial/starft")


def main(options: list[str]) -> None:
    # 1. Fine-tune the tiny CLIP with StarFT. Everything about the run stands in the config; options change it.
    checkpoint = RUN / "checkpoints" / "last.ckpt"
    common = ["--config=mini/starft", f"--trainer.default_root_dir={RUN}", *options]
    if starft(["fit", *common]):
        sys.exit("Training ended early; what it said stands above.")

    # 2. Did it work? `test` prints every eval set's accuracy with its interval and writes results.json.
    starft(["test", *common, f"--ckpt_path={checkpoint}"])
    results = json.loads((RUN / "results.json").read_text(encoding="utf-8"))
    print({name: round(one["metrics"]["acc"], 3) for name, one in results["eval_sets"].items()})

    # 3. Use it: a duck where ducks rarely are. The checkpoint alone is enough.
    model = load(checkpoint)
    duck = Image.fromarray(draw(Picture("duck", "desert", "photo", "tutorial")))
    print(model.predict(duck, top_k=3))

    # 4. Other classes, without training: the text tower was tuned along.
    print(model.with_classes(["landbird", "waterbird"]).predict(duck))

    # 5. Take it elsewhere: a folder that open_clip loads, with a model card.
    starft(["export", str(checkpoint), "--to=runs/tutorial/export"])


if __name__ == "__main__":
    main(sys.argv[1:])
