"""What a representation is: parameters that describe an object in [-0.5, 0.5]^3, and how they are trained."""
from abc import ABC
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from torch import nn

from asset3d.scene.views import Views


class Representation(nn.Module, ABC):
    """Base of all representations; `config` is what the recipe gave.

    One that the stage `optimize` may start is made as `Class(config, generator)`.
    """

    made_by: ClassVar[str] = ""
    """The stage that makes it out of something else, where it cannot be started from its config alone."""
    gives: ClassVar[tuple[str, ...] | None] = None
    """What renderers can draw it by: `sdf`, `density`, `surface`. None: nothing is known, and any renderer is tried."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def parameter_groups(self) -> Iterator[tuple[str, float, list[nn.Parameter]]]:
        """(name, learning-rate factor, parameters) for the optimizer."""
        yield "all", 1.0, list(self.parameters())

    def initialise(self, views: Views, generator: torch.Generator,
                   between: Callable[[], None] = lambda: None) -> None:
        """Called once, before the first step of a new representation, with the views that it will be fitted to.

        Where that takes long, `between` is called now and then; it raises `Cancelled` when the run is to stop.
        """

    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        """Called before every optimization step: schedules, occupancy. Its draws come from `generator` alone."""
