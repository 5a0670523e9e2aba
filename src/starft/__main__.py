"""The ``starft`` command: finds the verb, and turns errors into one sentence and an exit status."""

import os
import sys
from collections.abc import Sequence

import starft
from starft.cli.launch import load_module, share_cores
from starft.config.class_paths import SAFE
from starft.config.early_checks import check_words
from starft.config.fit_help import ALL, asks_for_help, short_help
from starft.errors import StarftError, Stopped, Terminated
from starft.files.atomic import not_text
from starft.files.shipped import with_shipped_configs
from starft.safe_text import indented, say
from starft.wording import did_you_mean

VERBS = {
    "fit": ("starft.cli.fit", "train a model from a config"),
    "validate": ("starft.cli.fit", "score a model on the validation sets of a config"),
    "test": ("starft.cli.fit", "score a model on the test sets of a config, write results.json"),
    "predict": ("starft.cli.fit", "write what a checkpoint says of images, or of the test sets of a config"),
    "export": ("starft.cli.export", "write a checkpoint as open_clip, Hugging Face, ONNX or head alone"),
    "data": (
        "starft.cli.data",
        "check the data of a config: files, counts, labels, groups, images; or pack them as shards",
    ),
    "prompts": ("starft.cli.prompts", "ask a language model for spurious labels; check, list and rank pools"),
    "audit": ("starft.cli.audit", "find the shortcuts that your data offer, without group labels"),
    "compare": ("starft.cli.compare", "run several configs with several seeds, each once, and compare them"),
    "tune": ("starft.cli.tune", "choose learning rate and weights of a config on its validation sets"),
    "interpolate": (
        "starft.cli.interpolate",
        "mix a tuned model with its pre-trained weights (WiSE-FT): an alpha or a sweep",
    ),
    "soup": ("starft.cli.soup", "average the weights of several checkpoints, all or greedily on validation"),
    "report": ("starft.cli.report", "tell what runs found: one HTML page, a table or a picture"),
    "init": ("starft.cli.init", "write a config for your own images: a table of them, or a folder of folders"),
    "demo": ("starft.cli.demo", "fine-tune on the embedded world and compare the methods"),
    "completion": ("starft.cli.completion", "print a script that completes these words in bash, zsh or tcsh"),
}
"""Verb -> the module that does it, imported only then, and what it does."""

LOADED_LATE = ("predict", "export", "compare", "tune", "interpolate", "soup", "demo", "report", "init")
"""Verbs whose options are looked at, and whose help is shown, before their modules are loaded."""

SAFE_OPTION = "--safe"

USAGE = """usage: starft VERB [options]

Fine-tune CLIP without teaching it shortcuts.

verbs:
{verbs}

`starft VERB --help` tells a verb's options. STARFT_DEBUG=1 shows the traceback of an error.
A config is code: it names classes, whose modules are imported. With --safe, or STARFT_SAFE=1, any verb takes classes of
starft, lightning and torch alone.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after ``starft``; None takes those of the process.

    Returns:
        Exit status: 0, 2 for a person's mistake, 130 after Ctrl-C, 143 after SIGTERM, 141 where nobody reads the output
        any more.
    """
    try:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write goes nowhere
        return 141


def _main(words: list[str]) -> int:
    if SAFE_OPTION in words:
        return _safely([word for word in words if word != SAFE_OPTION])
    if words and words[0] in ("--version", "-V"):
        say(f"starft {starft.__version__}")
        return 0
    if wrong := not_text(words):
        return _complain(f"{wrong[0]} isn't UTF-8; rename the file or folder that is called so.", 2)
    if not words or words[0] in ("--help", "-h"):
        width = max(map(len, VERBS))
        verbs = "\n".join(f"  {verb:<{width}}  {does}" for verb, (_, does) in VERBS.items())
        say(USAGE.format(verbs=verbs).rstrip(), lines=True)
        return 0
    if words[0] not in VERBS:
        return _complain(
            f"There is no verb {words[0]!r}; the verbs are {', '.join(VERBS)}.{did_you_mean(words[0], VERBS, 1)}", 2
        )
    words = with_shipped_configs(words)
    return _work(words) if os.environ.get("STARFT_DEBUG") == "1" else _guarded(words)


def _safely(words: list[str]) -> int:
    """Carry out a command that takes classes of few modules alone, in this process and in those that it starts."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        return _main(words)
    finally:
        os.environ.pop(SAFE)
        os.environ.update({SAFE: before} if before is not None else {})


def _work(words: list[str]) -> int:
    """Do what a verb does; what can be told before torch is loaded comes first."""
    share_cores()
    name = _module(words)
    if name == "starft.cli.fit":
        if asks_for_help(words):
            say(short_help(words[0]).rstrip(), lines=True)
            return 0
        words = ["--help" if word == ALL else word for word in words]
        configs = check_words(words)
        if any(word.startswith("--data.init_args.") for word in words):
            load_module("starft.config.own_data").check_names(words, configs)
    elif words[0] in LOADED_LATE:
        load_module("starft.config.command").check_command(name, f"starft {words[0]}", words[1:])
    modules = [{verb: module for verb, (module, _) in VERBS.items()}] if words[0] == "completion" else []
    return int(load_module(name).run(words, *modules))


def _module(words: list[str]) -> str:
    """Return the module of a verb; that of ``predict`` depends on whether a checkpoint comes first, or options do."""
    if words[0] == "predict" and (words[1:] in ([], ["--help"], ["-h"]) or words[1][:1] != "-"):
        return "starft.cli.predict"
    return VERBS[words[0]][0]


def _guarded(words: list[str]) -> int:
    try:
        return _work(words)
    except Stopped as stop:
        return _complain(str(stop), stop.status) if stop.first else 0
    except StarftError as error:
        return _complain(str(error), 2)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        return _complain(f"{error.strerror}{where}; free the disk or give another place, and run it again.", 2)
    except KeyboardInterrupt as stop:
        return _complain("Interrupted.", 143 if isinstance(stop, Terminated) else 130)


def _complain(sentence: str, status: int) -> int:
    say(indented(f"starft: {sentence}"), file=sys.stderr, lines=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
