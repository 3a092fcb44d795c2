"""What a representation is: parameters that describe an object in [-0.5, 0.5]^3, and how they are trained."""
from abc import ABC
from collections.abc import Iterator

import torch
from torch import nn


class Representation(nn.Module, ABC):
    """Base of all representations; `config` is what the recipe gave."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def parameter_groups(self) -> Iterator[tuple[str, float, list[nn.Parameter]]]:
        """(name, learning-rate factor, parameters) for the optimizer."""
        yield "all", 1.0, list(self.parameters())

    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        """Called before every optimization step: schedules, occupancy. Its draws come from `generator` alone."""
