"""What a trainer is: networks, the loss of a batch, and how the result is saved. The stage `train` does the rest."""
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asset3d.registry import Config


@dataclass(frozen=True)
class Draw:
    """What one step may draw from: everything that is random depends on (seed, stage, step) alone."""

    step: int
    n_steps: int
    batch: int
    generator: torch.Generator
    """On the CPU."""
    device: torch.device


class Trainer(nn.Module, ABC):
    """Base of all trainers: a module that holds the networks to be trained as submodules, frozen ones included.

    Parameters with `requires_grad` are trained, and averaged over the steps; the average is what is saved.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    @abstractmethod
    def build(self, generator: torch.Generator) -> None:
        """Make the networks, their weights drawn from `generator` alone."""

    @abstractmethod
    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        """Find or make the data."""

    def parameter_groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        """(factor of the learning rate, parameters) of all that is trained."""
        return [(1.0, [p for p in self.parameters() if p.requires_grad])]

    def refresh(self, draw: Draw, averaged: Callable[[], AbstractContextManager]) -> None:
        """Before each step: renew what the networks themselves make of the data. Inside `with averaged():` their
        weights are the running average. What it changes must be buffers, which are part of a checkpoint."""

    @abstractmethod
    def loss(self, draw: Draw) -> dict[str, Tensor]:
        """The terms whose sum is minimised, for a batch that is drawn here."""

    @abstractmethod
    def validate(self, draw: Draw) -> tuple[dict[str, float], Float[Tensor, "H W 3"]]:
        """Numbers on held-out data, and a picture; called with the averaged weights."""

    @abstractmethod
    def save(self, folder: Path) -> Mapping[str, object]:
        """Write the model, with the averaged weights, into an empty folder; returns what its card says besides."""


def seeded(make: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """A module of a library that draws its weights from torch's global generator, drawn from `generator` instead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return make()


def picture(rows: list[Float[Tensor, "N H W 3"]]) -> Float[Tensor, "H W 3"]:
    """Rows of images, one above the other."""
    return torch.cat([torch.cat(list(row), 1) for row in rows], 0)
