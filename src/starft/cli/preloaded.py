"""What runs are forked from: to import this module is to import all that a run needs, as a command does it.

What is loaded stays out of each run's looks for garbage, which took 0.3 processor seconds each.
"""

from starft.cli.launch import load_module

load_module("starft.cli.single_run")
