"""Every command and every snippet of README and docs/ is run, smaller where that only saves time."""

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from fakes import own_images
from starft.__main__ import main
from starft.cli.compare import read_methods
from starft.cli.fit import check_command
from starft.cli.single_run import finish
from starft.errors import ConfigError
from starft.files.shipped import with_shipped_configs

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"prompts.md", "datasets.md", "devices.md", "using.md", "extending.md"}
"""Pages with needs of their own: test_prompts_page.py, test_datasets_page.py, test_devices.py, test_using_page.py,
test_extending_page.py."""
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in ELSEWHERE)]
LOGGERS = {"common/tensorboard", "common/mlflow", "common/wandb"}
OWN = [
    "--model.model_name=starft-mini",
    "--model.pretrained=mini",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.max_epochs=1",
    "--data.init_args.num_workers=0",
    "--data.init_args.batch_size=8",
]
"""What makes the commands on a user's own data small."""
SMALL = [
    "--data.init_args.train_size=24",
    "--data.init_args.val_size=12",
    "--data.init_args.test_size=12",
    "--data.init_args.batch_size=12",
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
]
AUDITED = ["--data.init_args.train_size=120", "--data.init_args.val_size=240", "--data.init_args.test_size=12"]
"""The fewest pictures with two of each group in validation."""
TWICE = ["--trainer.callbacks.init_args.epochs=1", "--trainer.max_epochs=2"]
CALLBACKS = {"dfr": ["--trainer.callbacks.init_args.min_group_size=2"], "jtt": TWICE, "spare": TWICE}
"""Config -> what its callback needs of small data."""


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of one language, page by page."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def commands(first: str) -> list[list[str]]:
    """Return the command lines that start with a word."""
    lines = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and line[0] == first]


def small(command: list[str]) -> list[str]:
    """Return the options that make a command small."""
    from_checkpoint = command[1] == "predict" and not command[2].startswith("-")
    if command[1] == "audit":
        maps = ["--maps=1"] if command[2] == "model" else []
        return AUDITED if "birds.csv" in command else ["--data.init_args.train_size=60", *SMALL[1:3], *maps]
    if command[1] in ("demo", "init", "prompts", "report", "soup") or "--alpha" in command or from_checkpoint:
        return []
    if command[1] == "tune":
        return [*OWN, "--trials=1"]
    fewer = {"compare": ["--seeds=0"], "interpolate": ["--alphas=0,1"]}
    if command[1] in fewer:
        return [*SMALL, *fewer[command[1]]]
    if command[1] == "fit" and "--ckpt_path" in command:  # the run that it goes on with was whole: an epoch more
        return [*SMALL, "--trainer.max_epochs=2"]
    own = [*OWN, *CALLBACKS.get(Path(command[3]).stem, ())] if len(command) > 3 else OWN
    return own if {"csv", "imagefolder", "packed", "photos.yaml"} & {*"/".join(command).split("/")} else SMALL


def test_your_own_data_takes_four_commands_at_most() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    section = page.split("## Four commands")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    assert [line.split()[1] for line in lines] == ["data", "fit", "test", "predict"]


def test_there_is_something_to_run() -> None:
    assert commands("make")
    assert len(commands("starft")) >= 4
    assert blocks("python")


def test_every_command_is_one_that_is_tested() -> None:
    words = {line.split()[0] for block in blocks("bash") for line in block.splitlines() if line.strip()}
    assert words <= {"make", "starft"}


def test_every_extra_that_is_named_is_there() -> None:
    """On the pages, above the configs, and in what the program says."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "lightning_configs").rglob("*.yaml")]
    files += (ROOT / "src").rglob("*.py")
    named = {name for file in files for name in re.findall(r"starft\[(\w+)\]", file.read_text(encoding="utf-8"))}
    assert {"llm", "hf", "export", "wandb"} <= named <= set(setup["options.extras_require"])


@pytest.mark.parametrize("command", commands("make"), ids=" ".join)
def test_make_knows_its_targets(command: list[str]) -> None:
    done = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lightning_configs").symlink_to(ROOT / "lightning_configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")  # Lightning sets it; so it goes again after the test
    own_images.write_table(tmp_path, name="photos.csv")
    own_images.write_folders(tmp_path / "photo_folders", {"": 8})
    own_images.write_jpeg(tmp_path / "new_photos" / "new.jpg", 1)
    for verb in ("compare", "tune"):
        monkeypatch.setattr(
            f"starft.cli.{verb}.finish_apart", finish
        )  # here; tests/cli/test_compare.py runs them apart
    for command in commands("starft"):
        if command[1] == "demo" and "--show" not in command:
            continue  # tests/cli/test_demo.py runs it on smaller configs
        if LOGGERS & {*command} or any("s3://" in word for word in command):
            check_command(with_shipped_configs(command[1:]))  # test_loggers.py and test_remote_folder.py run them
            continue
        assert main([*command[1:], *small(command)]) == 0, shlex.join(command)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", blocks("python"))
def test_the_snippets_run(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smaller, sizes = re.subn(r"_size=\d+", "_size=24", snippet)
    assert sizes == 4
    exec(compile(smaller, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "runs" / "python").is_dir()


def told_above_configs() -> list[str]:
    """Return the commands that stand as comments in configs; of machines and schedulers, what they start."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "lightning_configs").rglob("*.yaml"))]
    return sorted(
        {line for text in texts for line in re.findall(r"^# (?:Run|Use) it: .*?starft (.*?)(?:[;,] .*)?$", text, re.M)}
    )


@pytest.mark.slow
def test_the_commands_above_the_configs_are_understood() -> None:
    """They take hours and real data, so they are parsed, with every option and class, and not run.

    Of those that differ in a folder's config alone one is parsed; test_configs.py runs all of these.
    """
    lines = [shlex.split(line) for line in told_above_configs()]
    assert len(lines) > 40
    unlike: dict[tuple[object, ...], list[str]] = {}
    for line in lines:
        verb, option, config, *rest = line
        assert option == "--config"
        name = config.removeprefix("lightning_configs/").removesuffix(".yaml")
        assert (ROOT / "lightning_configs" / f"{name}.yaml").is_file(), config
        unlike[verb, Path(name).parent, *rest] = line
    for line in unlike.values():
        check_command(with_shipped_configs(line))
    with pytest.raises(ConfigError, match="no_such_option"):
        check_command(with_shipped_configs(["fit", "--config", "mini/ce", "--model.no_such_option", "1"]))


def test_the_table_of_methods_names_configs_that_are_there() -> None:
    """Its commands take an hour each, so they are read and not run."""
    page = (ROOT / "lightning_configs" / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("starft compare")]
    assert commands
    for command in commands:
        methods = read_methods(command[command.index("--configs") + 1])
        assert command[command.index("--baseline") + 1] in {method.name for method in methods}
        for method in methods:
            assert f"| {method.name} |" in page
