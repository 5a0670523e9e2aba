"""Loads all that commands need, before anything else lives in the process.

`load_module` hides from Python's garbage collector what a command loads, and whatever lives then: in a process of tests
models that nobody needs any more, and they would stay for good.

What trains comes first: where ``starft.cli.predict`` does, Python's typing gives Lightning's Trainer a union with float
before int, and ``--trainer.limit_train_batches=1`` means all batches.
"""

from starft.__main__ import VERBS
from starft.cli.launch import load_module

LATER = ("starft.cli.predict", "starft.cli.data_check", "starft.cli.data_pack", "starft.reporting.page")
for _name in (*(name for name, _ in VERBS.values()), *LATER):
    load_module(_name)
