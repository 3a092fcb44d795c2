"""What a stage is: artifacts in, artifacts out, in steps that can be stopped after and resumed from."""
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch


@dataclass(frozen=True)
class Context:
    """What a run lends to a stage."""

    name: str
    seed: int
    device: torch.device
    folder: Path
    """The stage's own folder, for previews; exists."""
    result: Path
    """The run's result folder; files are written through `workspace.atomic_write`."""
    emit: Callable[..., None]
    """emit(kind, **data): one event on the log (message, preview, warning, metric)."""

    def generator(self, step: int, purpose: str = "") -> torch.Generator:
        """A CPU generator that depends on (seed, stage name, purpose, step) alone."""
        import hashlib
        digest = hashlib.sha256(f"{self.seed}/{self.name}/{purpose}/{step}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Stage(ABC):
    """One stage of a recipe.

    The run calls `start`, then `step` for every step from the first that is missing, then `finish`. A checkpoint is
    `state()`; a stage is restored by `start`, `load_state`. A finished stage is restored the same way and `finish`
    is called again, so `finish` must depend on nothing but the inputs and the state, and be cheap.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    """Artifacts needed, among image, views, representation, mesh, asset."""
    writes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config, context: Context):
        self.config = config
        self.context = context

    @abstractmethod
    def start(self, **artifacts: Any) -> int:
        """Take the artifacts named in `reads`; return the number of steps."""

    @abstractmethod
    def step(self, step: int) -> Mapping[str, float]:
        """Do one step; return named numbers (losses, counts) for progress and the log."""

    @abstractmethod
    def finish(self) -> Mapping[str, Any]:
        """The artifacts named in `writes`."""

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that decides the result of the steps to come, as named tensors."""
        return {}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `state` returned."""
