"""Options that are an integer or a fraction: 1 is an integer, whatever order of the two a process knows."""

from inspect import signature
from typing import get_args

import lightning as L
import pytest
from jsonargparse import ArgumentParser

from starft.config.parser import integers_first


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("1.0", 1.0), ("0.5", 0.5), ("null", None)])
def test_one_is_an_integer(text: str, value: float | None) -> None:
    def train(limit: float | int | None = 2, name: str | None = None) -> None:  # the order is the point
        """Take the wrong order."""

    integers_first(train)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(train)
    parsed = parser.parse_args([f"--limit={text}"]).limit
    assert (parsed, type(parsed)) == (value, type(value))


def test_the_trainer_takes_integers_first() -> None:
    integers_first(L.Trainer.__init__)
    limits = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "val_check_interval", "overfit_batches")
    for name in limits:
        assert get_args(signature(L.Trainer).parameters[name].annotation)[0] is int, name
