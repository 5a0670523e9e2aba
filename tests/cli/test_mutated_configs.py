"""A few configs with one thing wrong; tests/campaigns/test_mutated_configs.py tries hundreds."""

import random
from pathlib import Path

import pytest

from fakes.mutated import KINDS
from fakes.trial import configs, outcome_of

OWN = [path for path in configs() if path.parent.name in ("csv", "mini")]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(KINDS)))
@pytest.mark.filterwarnings("ignore")
def test_a_mutated_config(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(number)
    outcome = outcome_of(draw.choice(OWN), KINDS[number % len(KINDS)], draw, tmp_path, capsys)
    assert not outcome.wrong, outcome.wrong
