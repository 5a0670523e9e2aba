"""``starft predict CKPT IMAGES...``: what a trained model says of images, from its checkpoint alone."""

import csv
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from starft.config.command import run_command
from starft.data.contents import usable_cores
from starft.errors import ConfigError, DataError, Stopped, Terminated
from starft.inference.classifier import Classifier, load
from starft.inference.inputs import Inputs, find
from starft.inference.rows import Output, checked_format, columns
from starft.inference.stream import batches
from starft.reporting.console import Console
from starft.safe_text import say, visible
from starft.signals import sigterm_as_ctrl_c
from starft.wording import count_of, shortened

SHOWN = 20
"""How many bad images are told one by one."""


def run(words: Sequence[str]) -> int:
    """Run ``starft predict``: `command` tells its options."""
    return run_command(command, "starft predict", words[1:])


def command(
    ckpt: str,
    images: list[str],
    out: Path | None = None,
    format: Literal["csv", "jsonl", "parquet"] | None = None,
    classes: str | None = None,
    top_k: int = 1,
    column: str = "path",
    batch_size: int = 64,
    workers: int | None = None,
    device: str | None = None,
) -> int:
    """Write label and probability of images, in their order, as the model of a checkpoint sees them.

    IMAGES are files, folders, globs in quotes, tables (CSV, TSV, Parquet, JSON lines) with a column of paths, or - for
    a path a line on standard input. Images that can't be read are told and skipped. Rows are written as they come;
    Ctrl-C leaves whole ones.

    With a config: `starft predict --config CONFIG --ckpt_path CKPT` predicts its eval sets; for its options see
    `starft predict --config CONFIG --help`.

    Args:
        ckpt: A checkpoint, or a folder by `starft export`.
        images: Files, folders, globs, tables or -.
        out: File to make: .csv, .jsonl or .parquet; null writes CSV on standard output.
        format: What to write, whatever the file is called.
        classes: Other class names, as "a,b,c", scored zero-shot by the tuned text tower.
        top_k: How many classes a row lists, best first.
        column: The column of paths in tables.
        batch_size: Images that go through the model at a time.
        workers: Processes that decode images; null goes by the number of CPUs.
        device: Where the model runs, such as cpu or cuda; null takes a GPU if there is one.

    Raises:
        ConfigError: An option can't be used.
        DataError: There are no images, or none that can be read.
        Stopped: Ctrl-C.
        WeightsError: The checkpoint can't be used.
    """
    for name, value, least in (("batch-size", batch_size, 1), ("workers", workers, 0), ("top-k", top_k, 1)):
        if value is not None and value < least:
            raise ConfigError(f"--{name} must be at least {least}; got {value}.")
    checked_format(out, format)
    result = find(images, column)
    model = load(ckpt, device)
    if classes is not None:
        model = model.with_classes(_names(classes))
    top_k = model.checked_top_k(top_k)
    for note in result.notes:
        say(f"Note: {note}.", file=sys.stderr)
    workers = _workers() if workers is None else workers
    with Output(out, format, columns(top_k)) as output, sigterm_as_ctrl_c():
        predict(model, result, output, top_k, batch_size, workers, str(out or "standard output"))
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
    except KeyboardInterrupt as stop:
        raise Stopped(
            f"Stopped; {where} holds whole rows of the first {count_of(output.count, 'image')}.",
            143 if isinstance(stop, Terminated) else 130,
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
