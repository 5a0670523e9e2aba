"""Shipped configs with one thing wrong: no traceback, no hang, no value taken that can't be meant.

``STARFT_MUTATIONS`` says how many, ``STARFT_MUTATION_SEED`` which. ``tests/test_mutated_configs.py`` tries a few.
"""

import os
import random
from pathlib import Path

import pytest

from fakes.mutated import KINDS
from fakes.trial import configs, outcome_of

COUNT = int(os.environ.get("STARFT_MUTATIONS", "300"))
SEED = int(os.environ.get("STARFT_MUTATION_SEED", "0"))


@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.filterwarnings("ignore")
def test_a_mutated_config(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(f"{SEED}/{number}")
    config, kind = draw.choice(configs()), KINDS[number % len(KINDS)]
    outcome = outcome_of(config, kind, draw, tmp_path, capsys, for_real=number % 10 == 0)
    assert not outcome.wrong, outcome.wrong
