"""What a representation is: parameters that describe an object in [-0.5, 0.5]^3, and how they are trained."""
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from asset3d.scene.mesh import Mesh
from asset3d.scene.rendering import Rendering
from asset3d.scene.views import Frame, Views


@dataclass(frozen=True)
class Surroundings:
    """What is known besides the views when a new representation is started."""

    frame: Frame = Frame()
    """Where the inside frame lies in the world of the view set's files."""
    points: Float[Tensor, "P 3"] | None = None
    """Sparse points of the scene, in the inside frame."""
    mesh: Mesh | None = None
    """What an earlier stage made, in the inside frame."""


@dataclass(frozen=True)
class Done:
    """An optimization step that was just made."""

    step: int
    n_steps: int
    rendering: Rendering
    """What was compared; gradients of its extras are there where the renderer retained them."""
    learning_rate: float
    """Of a parameter group with factor 1."""
    generator: torch.Generator
    """All draws come from it."""


@dataclass(frozen=True)
class Rows:
    """How the rows of all parameters go on after some were added, moved or removed. N rows."""

    source: Int64[Tensor, "N"]
    """The row, before, that each row comes from."""
    kept: Bool[Tensor, "N"]
    """Rows that the optimizer goes on with as before; it forgets what it knew of the others."""


class Representation(nn.Module, ABC):
    """Base of all representations; `config` is what the recipe gave.

    One that the stage `optimize` may start is made as `Class(config, generator)`.
    """

    made_by: ClassVar[str] = ""
    """The stage that makes it out of something else, where it cannot be started from its config alone."""
    gives: ClassVar[tuple[str, ...] | None] = None
    """What renderers can draw it by: `sdf`, `density`, `surface`, `splats`. None: nothing is known, and any renderer is
    tried."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.remarks: list[str] = []
        """What the user should know about its start; the stage tells it as warnings."""

    def parameter_groups(self) -> Iterator[tuple[str, float, list[nn.Parameter]]]:
        """(name, learning-rate factor, parameters) for the optimizer."""
        yield "all", 1.0, list(self.parameters())

    def surround(self, surroundings: Surroundings) -> None:
        """Called once, before `initialise`, with what a start may be made from besides the views."""

    def initialise(self, views: Views, generator: torch.Generator,
                   between: Callable[[], None] = lambda: None) -> None:
        """Called once, before the first step of a new representation, with the views that it will be fitted to.

        Where that takes long, `between` is called now and then; it raises `Cancelled` when the run is to stop.
        """

    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        """Called before every optimization step: schedules, occupancy. Its draws come from `generator` alone."""

    def end_step(self, done: Done) -> Rows | None:
        """Called after every optimization step that was made. It may put parameters with other rows in the place of
        all parameters, and then says how their rows go on. `load_state_dict` must take any number of rows."""
        return None

    def numbers(self) -> Mapping[str, float]:
        """What is worth a look while it is fitted, besides the losses."""
        return {}
