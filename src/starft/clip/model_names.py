"""Which names of models there are, and what is wrong with those that aren't."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip

from starft.clip.hub import HUB, LOCAL
from starft.errors import ConfigError, WeightsError
from starft.files.atomic import load_json
from starft.files.digests import check_export
from starft.files.shipped import PACKAGE
from starft.wording import did_you_mean

MINI_MODEL = "starft-mini"
"""Name of the embedded world's model config."""

MINI_FOLDER = PACKAGE / "mini"
SCHEMAS = (HUB, LOCAL)
FOLDER_CONFIG = "open_clip_config.json"
SIZES = ("image_size", "patch_size", "width", "layers", "head_width", "context_length", "vocab_size")
"""What must be at least 1 in the two parts."""
PARTS = ("embed_dim", "vision_cfg", "text_cfg")
VOCABULARY = "siglip_vocabulary"
"""Key of a model's description: the vocabulary of SigLIP's that captions are read with because of the model's name."""

NOTES = "notes"
"""Key of a model's description: what is worth knowing of the weights that it started from."""


def register_model(model_name: str) -> str:
    """Return the name under which open_clip knows the model, after telling it of a model config file.

    Args:
        model_name: As `build_clip` takes it.

    Raises:
        ConfigError: There is no such model, or its config can't be used.
        WeightsError: There is no such folder, or it holds no model.
    """
    if MINI_MODEL not in open_clip.list_models():
        open_clip.add_model_config(MINI_FOLDER / f"{MINI_MODEL}.json")
    if model_name.startswith(LOCAL):
        _check_folder(Path(model_name.removeprefix(LOCAL)))
        return model_name
    if model_name.startswith(HUB):
        return model_name
    if is_path(model_name):
        return _register_file(model_name)
    if model_name not in open_clip.list_models():
        raise ConfigError(
            f"There is no model {model_name!r}.{did_you_mean(model_name, open_clip.list_models())} "
            "Give an open_clip architecture, hf-hub:ORG/NAME, local-dir:PATH, or a model config (.json)."
        )
    return model_name


def is_path(model_name: str) -> bool:
    """Return whether a model is named by where it lies, so that its name changes when it is moved.

    Args:
        model_name: As `build_clip` takes it.
    """
    return model_name.startswith(LOCAL) or model_name.endswith(".json")


def is_random(model_name: str, pretrained: str | None) -> bool:
    """Return whether a model's weights are drawn when it is built, so that another time they are others.

    Args:
        model_name: As `build_clip` takes it.
        pretrained: Likewise.
    """
    return pretrained is None and not model_name.startswith(SCHEMAS)


def siglip_vocabulary(name: str, config: Mapping[str, Any]) -> str | None:
    """Return the vocabulary that open_clip takes because of a model's name alone, or None where the config decides.

    Args:
        name: As open_clip takes it.
        config: Its model config.
    """
    low = name.lower()
    if "siglip" not in low or name.startswith(SCHEMAS) or config.get("text_cfg", {}).get("hf_tokenizer_name"):
        return None
    return "gemma" if "siglip2" in low else "mc4" if "i18n" in low else "c4-en"


def near_paths(path: Path) -> str:
    """Return a suggestion for a path that doesn't exist from what lies beside it.

    Args:
        path: What the person wrote.
    """
    if path.exists() or not path.parent.is_dir():
        return ""
    near = get_close_matches(path.name, [beside.name for beside in path.parent.iterdir()], cutoff=0.5)
    return f" Did you mean {' or '.join(str(path.parent / name) for name in near)}?" if near else ""


def _register_file(model_name: str) -> str:
    path = Path(model_name)
    try:
        keys = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The model config {model_name} can't be read: {_why(error)}.{near_paths(path)}") from error
    content: dict[str, Any] = keys if isinstance(keys, dict) else {}
    if "model_cfg" in content:
        raise ConfigError(
            f"The model config {model_name} is that of a folder; keep it as {FOLDER_CONFIG} beside its weights "
            f"and give model_name {LOCAL}{path.parent}."
        )
    missing = [key for key in PARTS if key not in content]
    if missing:
        raise ConfigError(f"The model config {model_name} lacks {', '.join(missing)}; see those of open_clip.")
    for part in ("vision_cfg", "text_cfg"):
        sizes = content[part] if isinstance(content[part], dict) else {}
        for key, value in sizes.items():
            if key in SIZES and any(isinstance(item, int) and item < 1 for item in _listed(value)):
                raise ConfigError(f"The model config {model_name} has {part}.{key} {value}; it must be at least 1.")
    known = open_clip.get_model_config(path.stem)
    if known is not None and known != keys:
        raise ConfigError(
            f"The model config {model_name} differs from the model {path.stem!r} that is known already, "
            "and models are known by their file's name; rename the file."
        )
    if known is None:
        open_clip.add_model_config(path)
    return path.stem


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise WeightsError(f"The model folder {folder} doesn't exist; check its path.{near_paths(folder)}")
    check_export(folder)
    path = folder / FOLDER_CONFIG
    if not path.exists() and (folder / "config.json").exists():
        raise WeightsError(
            f"The model folder {folder} is one of transformers and has no {FOLDER_CONFIG}; give the open_clip "
            f"architecture of its CLIP as model_name, such as ViT-B-16-quickgelu, and pretrained {folder}."
        )
    try:
        config = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"The model folder {folder} has no readable {FOLDER_CONFIG}: {_why(error)}.") from error
    value = config.get("model_cfg") if isinstance(config, dict) else None
    missing = [key for key in PARTS if not isinstance(value, dict) or key not in value]
    if missing:
        raise WeightsError(f"{path} must hold model_cfg with {', '.join(PARTS)}; it lacks {', '.join(missing)}.")
