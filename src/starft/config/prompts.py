"""What the prompt stage reads of a config: class names, caption templates, the CLIP model and the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starft.config.class_paths import make_importable
from starft.errors import ConfigError
from starft.files.yaml_reader import read_yaml, seed_of

if TYPE_CHECKING:
    from starft.data.datamodules import BaseDataModule

MODEL = "ViT-B-16"
PRETRAINED = "openai"
TEMPLATE = "a photo of a {}."


@dataclass(frozen=True)
class RunConfig:
    """A config, as far as prompts are concerned.

    Args:
        path: Where it was read.
        model_name: CLIP architecture; the default of training where the config names none.
        pretrained: Its weights.
        seed: Of the run.
        section: Of the data, as the file has it; None where the file lists class names only.
        listed: Class names that the file lists itself.
        options: What a command changes of the data, as ``--data.init_args.NAME=VALUE``.
        pools: What the config's model draws phrases from: names and paths of pools.
        folder: The run folder; None where the file names none.
    """

    path: Path
    model_name: str
    pretrained: str | None
    seed: int
    section: Any
    listed: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    folder: Path | None = None

    @cached_property
    def data(self) -> "BaseDataModule | None":
        """The DataModule, not set up, built when it is first asked for; None where the file has none.

        Raises:
            ConfigError: The data section can't be used.
        """
        if self.section is None:
            return None
        make_importable([self.path])
        import_module("starft.mini")  # configs may name its classes without their module
        data_of = import_module("starft.config.data").data_of
        data: BaseDataModule = data_of(self.section, self.seed, str(self.path), self.options)
        return data

    def class_names(self) -> tuple[str, ...]:
        """Return the class names, from the data if need be.

        Raises:
            ConfigError: There are none.
        """
        names = self.listed
        if self.data is not None:
            names = _class_names_of(self.data)
            if not names:
                self.data.setup("fit")
                names = _class_names_of(self.data)
        if not names:
            raise ConfigError(f"The data of {self.path} tell no class names; give a config whose data do.")
        return names

    def templates(self) -> tuple[str, ...]:
        """Return the caption templates of the data."""
        return tuple(self.data.templates) if self.data is not None else (TEMPLATE,)


def read_config_or_none(path: str | None, overrides: Sequence[str] = ()) -> RunConfig | None:
    """Read a config, as `read_config` does; None where there is none.

    Args:
        path: A YAML file, or None.
        overrides: What a command changes of it.

    Raises:
        ConfigError: It can't be read or changed.
    """
    if path is None and overrides:
        raise ConfigError(f"{overrides[0].partition('=')[0]} changes a config; give one by --data.")
    return read_config(path, overrides) if path is not None else None


def read_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read the config of a run, or a file with nothing but a list ``class_names``.

    Args:
        path: A YAML file.
        overrides: What a command changes of it: ``--data.init_args.NAME=VALUE`` and ``--model.model_name=NAME``.

    Raises:
        ConfigError: It can't be read or changed, or has neither data nor class names.
    """
    file = Path(path)
    try:
        value = read_yaml(file)
    except FileNotFoundError as error:
        raise ConfigError(f"The config {file} can't be read: {error.strerror}; check its path.") from error
    value = value if isinstance(value, dict) else {}
    listed = value.get("class_names")
    if "data" not in value and listed is None:
        raise ConfigError(
            f"The config {file} has no class names: it needs a 'data' section as for `starft fit`, "
            "or a list 'class_names'."
        )
    if listed is not None and not (
        isinstance(listed, list) and listed and all(isinstance(name, str) and name.strip() for name in listed)
    ):
        raise ConfigError(f"'class_names' of {file} must be a list of texts that isn't empty; got {str(listed)[:80]}.")
    section = value.get("model")
    model: dict[str, Any] = section if isinstance(section, dict) else {}
    model = {**model, **_model_options(overrides)}
    return RunConfig(
        path=file,
        model_name=str(model.get("model_name", MODEL)),
        pretrained=model.get("pretrained", PRETRAINED),
        seed=seed_of(value),
        section=(value["data"] or {}) if "data" in value else None,
        listed=tuple(listed or ()),
        options=tuple(option for option in overrides if option.startswith("--data.")),
        pools=_pools(model),
        folder=_run_folder(value.get("trainer")),
    )


def _pools(model: Mapping[str, Any]) -> tuple[str, ...]:
    given = model.get("pool")
    return tuple(map(str, given)) if isinstance(given, list) else (given,) if isinstance(given, str) else ()


def _run_folder(trainer: Any) -> Path | None:
    given = trainer.get("default_root_dir") if isinstance(trainer, dict) else None
    return Path(given) if isinstance(given, str) and given else None


def _model_options(overrides: Sequence[str]) -> dict[str, Any]:
    """Return what a command changes of the model, as far as prompts are concerned."""
    changed: dict[str, Any] = {}
    for option in overrides:
        name, _, value = option.removeprefix("--").partition("=")
        section, _, key = name.partition(".")
        if section == "data":
            continue
        if section != "model" or key not in ("model_name", "pretrained"):
            raise ConfigError(
                f"--{name} changes nothing here; of a config, --data.init_args.NAME, --model.model_name and "
                "--model.pretrained can be changed."
            )
        if not value:
            raise ConfigError(f"--{name} needs a value.")
        changed[key] = None if value == "null" else value
    if changed.get("model_name", "") is None:
        raise ConfigError("--model.model_name can't be null; name an architecture.")
    return changed


def _class_names_of(data: "BaseDataModule") -> tuple[str, ...]:
    """Return a DataModule's class names; empty where it can't tell them before it is set up."""
    try:
        return tuple(data.class_names)
    except (AttributeError, AssertionError):
        return ()
