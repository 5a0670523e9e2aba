"""Try the lowest versions that setup.cfg declares: ``python tests/campaigns/lowest_versions.py FOLDER``.

It makes a virtual environment in FOLDER, installs starft with every direct dependency at its floor (by uv), lists the
floors that no set of packages can have together, and runs the help, a step of training and questions to a local server.
It takes some gigabytes and minutes, and exits with 1 if a floor can't be had or a command fails.
"""

import configparser
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = "lightning_configs/mini/starft.yaml"
STEP = [
    "--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--data.init_args.train_size=24",
    "--data.init_args.val_size=12", "--data.init_args.test_size=12", "--data.init_args.batch_size=12",
    "--trainer.accelerator=cpu", "--trainer.default_root_dir=run",
]  # fmt: skip


def floors() -> dict[str, str]:
    """Return the lowest version of each requirement of starft and of its prompt stage."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["llm"]
    found = re.findall(r"^([\w.-]+)(?:\[\w+\])?>=([\w.]+)", lines, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def same(one: str, other: str) -> bool:
    """Return whether two versions are one but for zeros at the end and a build's name."""
    plain = [re.sub(r"(\.0)+$", "", version.partition("+")[0]) for version in (one, other)]
    return plain[0] == plain[1]


def install(folder: Path) -> dict[str, str]:
    """Install everything at its floor, and return the versions that came."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    uv = [folder / "venv/bin/uv", "pip"]
    target = ["--python", python]
    subprocess.run([*uv, "install", "--quiet", "--resolution", "lowest-direct", *target, f"{ROOT}[llm]"], check=True)
    listed = subprocess.run([*uv, "freeze", *target], check=True, capture_output=True, text=True).stdout
    return dict(line.lower().split("==") for line in listed.splitlines() if "==" in line)


def run(folder: Path, *words: str, **environment: str) -> bool:
    """Run a starft command in the new environment, print what came of it, and return whether it went well."""
    command = [folder / "venv/bin/starft", *words]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    print(f"{'went well' if done.returncode == 0 else 'FAILED':9}  starft {' '.join(words[:4])} ...")
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-15:]))
    return done.returncode == 0


def main(folder: Path) -> int:
    """Install, compare, run; return the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    installed = install(folder)
    higher = {name: floor for name, floor in floors().items() if not same(installed[name], floor)}
    for name, floor in higher.items():
        print(f"{name}: the floor {floor} can't be had with the others, {installed[name]} came")
    print(f"{len(floors()) - len(higher)} of {len(floors())} floors were installed.")
    sys.path.insert(0, str(ROOT / "tests/prompting"))
    chat_server = import_module("chat_server")
    (folder / "classes.yaml").write_text("class_names: [duck, owl]\n")
    with chat_server.ChatServer() as server:
        asked = ["prompts", "generate", "per_class", "--data", "classes.yaml", "--base-url", server.url]
        asked += ["--model", "any", "--clip-model", "starft-mini", "--out", "pool.json", "--overwrite"]
        passed = [
            run(folder, "--help"),
            run(folder, *asked, OPENAI_API_KEY="none"),
            run(folder, "prompts", "server", "--base-url", server.url, "--model", "any", OPENAI_API_KEY="none"),
            run(folder, "fit", "--config", CONFIG.removeprefix("lightning_configs/").removesuffix(".yaml"), *STEP),
        ]
    return 0 if all(passed) and not higher else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
