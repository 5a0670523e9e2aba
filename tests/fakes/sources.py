"""The files of the package as rules look at them, each parsed once."""

import ast
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[2] / "src" / "starft"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
