"""What a stage is: artifacts in, artifacts out, in steps that can be stopped after and resumed from."""
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from asset3d.registry import Config


class StageConfig(Config):
    """Keys that every stage has, besides its `type`."""

    type: str
    name: str = Field("", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$|^$")
    """What the run folder and overrides call this stage; by default its type."""
    from_: dict[str, str] = Field({}, alias="from")
    """Artifacts to read under another name: `{views: photos}` gives the artifact `photos` as `views`."""
    as_: dict[str, str] = Field({}, alias="as")
    """Artifacts to write under another name: `{mesh: coarse}` stores the stage's `mesh` as `coarse`."""


def _nothing(*args: Any, **data: Any) -> None:
    """For stages that run outside of a run."""


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
    emit: Callable[..., None] = _nothing
    """emit(kind, **data): one event on the log. `message` and `warning` (text=...) reach the user, `preview` (path=...)
    names a picture in `folder`, `file` (path=...) a file of the asset in `result`, `metric` (name=value, ...) goes to
    result/metrics.json, `manifest` (name=value, ...) to result/manifest.json."""
    raise_if_cancelled: Callable[[], None] = _nothing
    """Raises `Cancelled` when the run is asked to stop; for loops inside `start` and `finish`. Steps need not."""
    tap: Callable[[str, int, Any], Any] = lambda name, step, value: value
    """tap(name, step, value) returns the value; tests give another one to put a NaN where they want it."""
    deterministic: bool = True

    def generator(self, step: int, purpose: str = "") -> torch.Generator:
        """A CPU generator that depends on (seed, stage name, purpose, step) alone."""
        digest = hashlib.sha256(f"{self.seed}/{self.name}/{purpose}/{step}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Stage(ABC):
    """One stage of a recipe.

    The run calls `start`, then `step` for every step from the first that is missing, then `finish`. A checkpoint is
    `state()`; a stage is restored by `start`, `load_state`. A finished stage is restored the same way and `finish`
    is called again, so `finish` must depend on nothing but the inputs and the state, and be cheap. A checkpoint may be
    taken after any step, or none: `state` must not change what the steps to come do.
    """

    Config: ClassVar[type[StageConfig]]
    reads: ClassVar[tuple[str, ...]] = ()
    """Artifacts needed: image, views, representation, mesh, asset, or what a plugin calls its own."""
    reads_if_there: ClassVar[tuple[str, ...]] = ()
    """Artifacts given to `start` when an earlier stage wrote them."""
    writes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config, context: Context):
        self.config = config
        self.context = context

    @classmethod
    def reads_of(cls, config) -> tuple[str, ...]:
        """Artifacts needed with this config; a stage whose needs depend on it overrides this."""
        return cls.reads

    @classmethod
    def writes_of(cls, config) -> tuple[str, ...]:
        """Artifacts given with this config."""
        return cls.writes

    @classmethod
    def check(cls, config) -> None:
        """Called by `--dry-run` and before a run starts: raise `InputError` for what the config alone cannot know
        (a missing package, a model that is not there). Must be fast and write nothing."""

    @classmethod
    def files_of(cls, config) -> Mapping[str, Iterable[Path]]:
        """By field, the files that a path in the config stands for, where a stage reads others than that file, or not
        all of that folder. A run is continued only when they are what they were when it began.

        Raises:
            InputError: What they are cannot be told.
        """
        return {}

    @classmethod
    def priors_of(cls, config) -> Iterable[tuple[Config, int, bool]]:
        """What `--dry-run` tells the memory of: (config of a prior, images of one step, whether it gives them a
        gradient)."""
        return ()

    @classmethod
    def gives_of(cls, config, given: Mapping[str, tuple[str, ...] | None]) -> dict[str, tuple[str, ...] | None]:
        """What is known before a run about artifacts written, by name: maps of views, what a representation can be
        drawn by. `given` says the same of artifacts read. What is not named is unknown."""
        return {}

    @classmethod
    def faults_of(cls, config, given: Mapping[str, tuple[str, ...] | None]) -> Iterable[tuple[tuple, str]]:
        """Settings that cannot work together or with what is given: (keys below the stage, why and what to do). They
        are refused with the recipe's line."""
        return ()

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
