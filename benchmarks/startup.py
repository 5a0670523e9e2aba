"""What commands cost before and beside their work: processor seconds of two checkouts, in turns, and their ratio.

    python benchmarks/startup.py BEFORE [--repeats 5] [--only report]

BEFORE is the root of another checkout; the one of this file comes after it. Seconds are user and system time of
the whole tree of processes, the median of the repeats; each command runs once first, so that bytecode is there.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parents[1]
FIT = (
    *("fit", "--config", "mini/ce", "--trainer.max_steps=1", "--data.init_args.train_size=240"),
    *("--trainer.limit_val_batches=0", "--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false"),
    *("--checkpoint.monitor=null", "--trainer.enable_model_summary=false"),
)
COMMANDS = {
    "data-check": ("data", "check", "--config", "data.yaml"),
    "report": ("report", "run-0", "run-1", "--out", "report.html", "--overwrite"),
    "predict": ("predict", "run-0/checkpoints/last.ckpt", "ten", "--out", "rows.csv"),
    "fit-help": ("fit", "--help"),
    "fit": (*FIT, "--trainer.default_root_dir=new"),
    "fit-typo": ("fit", "--config", "data.yaml", "--data.init_args.batchsize=3"),
    "soup-help": ("soup", "--help"),
    "predict-help": ("predict", "--help"),
}
"""What is timed, by name."""
LEFT = ("rows.csv", "new")
"""What a command leaves that its next run would refuse."""


def starft(root: Path, folder: Path, words: tuple[str, ...]) -> float:
    """Run a command of a checkout in a folder; return its processor seconds."""
    for name in LEFT:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "starft", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != (2 if "--data.init_args.batchsize=3" in words else 0):
        sys.exit(f"{' '.join(words)} of {root} ended with {done.returncode}:\n{done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def prepare(root: Path, folder: Path) -> None:
    """Make 1,000 small images with a table, ten more, and two tested runs."""
    (folder / "ten").mkdir()
    (folder / "images").mkdir()
    lines = ["path,label,split"]
    for number in range(1000):
        color = (number % 256, number // 4, 99)
        Image.new("RGB", (24, 24), color).save(folder / "images" / f"{number}.png")
        split = ("train", "val", "test")[number % 3]
        lines.append(f"images/{number}.png,{('duck', 'gull', 'owl', 'crow')[number % 4]},{split}")
        if number < 10:
            Image.new("RGB", (64, 64), color).save(folder / "ten" / f"{number}.png")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text(
        "model:\n  model_name: ViT-B-32\ndata:\n  class_path: starft.data.CSV\n  init_args:\n    file: data.csv\n"
    )
    for seed in range(2):
        own = (f"--trainer.default_root_dir=run-{seed}", f"--seed_everything={seed}")
        starft(root, folder, (*FIT, *own))
        last = f"run-{seed}/checkpoints/last.ckpt"
        starft(root, folder, ("test", "--config", "mini/ce", *own, f"--ckpt_path={last}"))


def main() -> None:
    """Time the commands and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=COMMANDS, nargs="+", default=list(COMMANDS))
    options = parser.parse_args()
    roots = (options.before.resolve(), HERE)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prepare(roots[0], folder)
        for name in options.only:
            for root in roots:
                starft(root, folder, COMMANDS[name])
            seconds = [[starft(root, folder, COMMANDS[name]) for root in roots] for _ in range(options.repeats)]
            before, after = (statistics.median(one) for one in zip(*seconds, strict=True))
            print(f"{name:12s} {before:6.2f} s  {after:6.2f} s  ratio {after / before:.2f}", flush=True)


if __name__ == "__main__":
    main()
