"""Random draws whose values never change with the version of numpy.

Only the raw output of the bit generator is used: numpy keeps that stream stable, the distributions on top it does not.
"""
import numpy as np


class Draw:
    """A stream of random choices, decided by a list of non-negative integers."""

    def __init__(self, *key: int):
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def integer(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def pick(self, options):
        """One of a sequence."""
        return options[self.integer(0, len(options) - 1)]

    def several(self, options, count: int) -> list:
        """`count` different ones of a sequence, in random order."""
        left = list(options)
        return [left.pop(self.integer(0, len(left) - 1)) for _ in range(count)]
