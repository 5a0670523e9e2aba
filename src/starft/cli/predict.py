"""``starft predict CKPT IMAGES...``: what a trained model says of images, from its checkpoint alone."""

import csv
import signal
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from starft.config.options import OptionParser
from starft.data.contents import usable_cores
from starft.errors import ConfigError, DataError, Stopped
from starft.inference.classifier import Classifier, load
from starft.inference.inputs import Inputs, find
from starft.inference.rows import FORMATS, Output, checked_format, columns
from starft.inference.stream import batches
from starft.reporting.console import Console
from starft.safe_text import say, visible
from starft.wording import count_of, shortened

ABOUT = """Write label and probability of images, in their order, as the model of a checkpoint sees them.

IMAGES are files, folders, globs in quotes, tables (CSV, TSV, Parquet, JSON lines) with a column of paths, or - for a
path a line on standard input. Images that can't be read are told and skipped. Rows are written as they come; Ctrl-C
leaves whole ones.

The eval sets of a config are predicted by `starft predict --config CONFIG --ckpt_path CKPT`, see
`starft predict --config CONFIG --help`.
"""
SHOWN = 20
"""How many bad images are told one by one."""


def parser() -> OptionParser:
    """Return the verb's parser."""
    made = OptionParser("starft predict", ABOUT)
    made.formatter_class = RawDescriptionHelpFormatter
    made.add_argument("checkpoint", metavar="CKPT", help="a checkpoint, or a folder by `starft export`")
    made.add_argument("images", metavar="IMAGES", nargs="+", help="files, folders, globs, tables or -")
    made.add_argument(
        "--out", type=Path, help="file to make: .csv, .jsonl or .parquet; CSV on standard output if left out"
    )
    made.add_argument("--format", choices=list(FORMATS), help="what to write, whatever the file is called")
    made.add_argument("--classes", help='other class names, as "a,b,c", scored zero-shot by the tuned text tower')
    made.add_argument("--top-k", type=int, default=1, help="how many classes a row lists, best first (1)")
    made.add_argument("--column", default="path", help="the column of paths in tables (path)")
    made.add_argument("--batch-size", type=int, default=64, help="images that go through the model at a time (64)")
    made.add_argument(
        "--workers", type=int, help="processes that decode images; chosen by the number of CPUs if left out"
    )
    made.add_argument("--device", help="where the model runs, such as cpu or cuda; a GPU if there is one")
    return made


def run(words: Sequence[str]) -> int:
    """Run the verb.

    Args:
        words: "predict" and what comes behind it.

    Raises:
        ConfigError: An option can't be used.
        DataError: There are no images, or none that can be read.
        Stopped: Ctrl-C.
        WeightsError: The checkpoint can't be used.
    """
    if words[1:] in (["--help"], ["-h"]):
        parser().print_help()
        return 0
    options = parser().parse_args(list(words[1:]))
    for name, least in (("batch_size", 1), ("workers", 0), ("top_k", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}; got {value}.")
    checked_format(options.out, options.format)
    found = find(options.images, options.column)
    model = load(options.checkpoint, options.device)
    if options.classes is not None:
        model = model.with_classes(_names(options.classes))
    top_k = model.checked_top_k(options.top_k)
    for note in found.notes:
        say(f"Note: {note}.", file=sys.stderr)
    workers = _workers() if options.workers is None else options.workers
    with Output(options.out, options.format, columns(top_k)) as output, _sigterm_as_ctrl_c():
        predict(model, found, output, top_k, options.batch_size, workers, str(options.out or "standard output"))
    return 0


def _names(text: str) -> list[str]:
    """Return the class names of a text such as ``a,b,c``."""
    if len(text.splitlines()) > 1 or (text.strip()[:1], text.strip()[-1:]) in (("[", "]"), ("{", "}")):
        raise ConfigError(f'--classes must be names on one line, such as "duck,gull"; got {shortened(repr(text))}.')
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def predict(
    model: Classifier, found: Inputs, output: Output, top_k: int, batch_size: int, workers: int, where: str
) -> None:
    """Write a row for each image that can be read; tell the others, and how fast it went.

    Args:
        model: Says what it sees.
        found: The images.
        output: Takes the rows.
        top_k: How many classes a row lists.
        batch_size: How many images go through the model at a time.
        workers: Processes that decode.
        where: What the output is called.

    Raises:
        DataError: No image can be read.
        Stopped: Ctrl-C; the rows that are written are whole.
    """
    console = Console(stderr=True)
    names, bad = columns(top_k), 0
    bar = Progress(
        TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console,
        disable=not sys.stderr.isatty(),
    )  # fmt: skip
    start = time.monotonic()
    try:
        with bar, torch.no_grad():
            task = bar.add_task("", total=found.total)
            for batch in batches(found.items, model.transform, batch_size, workers, model.device):
                for name, why in batch.bad[: max(0, SHOWN - bad)]:
                    console.print(visible(f"skipped {name}: {why}"), soft_wrap=True, highlight=False)
                bad += len(batch.bad)
                if batch.pixels is not None:
                    values, places = model.ranked(batch.pixels, top_k)
                    rows = zip(batch.names, values.tolist(), places.tolist(), strict=True)
                    output.write([dict(zip(names, _cells(model, *row), strict=True)) for row in rows])
                bar.update(task, completed=output.count + bad)
    except KeyboardInterrupt:
        raise Stopped(
            f"Stopped; {where} holds whole rows of the first {count_of(output.count, 'image')}.", 130
        ) from None
    seconds = time.monotonic() - start
    done = output.count
    if not done:
        raise DataError(f"None of the {count_of(bad, 'image')} can be read; check the paths.")
    skipped = f", {bad:,} skipped" if bad else ""
    say(f"{where}: {done:,} images{skipped}, {seconds:.1f} s, {done / seconds:,.0f} images/s", file=sys.stderr)


def _cells(model: Classifier, name: str, values: list[float], places: list[int]) -> Iterator[str | float]:
    yield name
    for value, place in zip(values, places, strict=True):
        yield model.class_names[place]
        yield value


def _workers() -> int:
    return min(8, max(1, usable_cores() - 1))


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let what a scheduler sends end the command as Ctrl-C does, with whole rows."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
