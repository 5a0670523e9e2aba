"""Terms that hold the tuned model near something: one file each, named for its method."""

from starft.regularizers.spuriosity import SpuriosityAlignment

__all__ = ["SpuriosityAlignment"]
