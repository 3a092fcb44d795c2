"""Small stages for tests of recipes and runs: their states are random walks, so that a lost or repeated step shows.

Run as a program it is `python -m asset3d.run` with these stages.
"""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from asset3d import Config, Diverged, FileName, InputError, InputPath, OneOf, Run, Schedule, Stage, StageConfig, Values
from asset3d.registry import register
from asset3d.workspace import atomic_write, tree_hash


class PullConfig(Config):
    type: Literal["fake_pull"] = "fake_pull"
    weight: Annotated[Schedule, Values(ge=0)] = 1.0
    """How hard."""


@register("loss", PullConfig)
class Pull:
    """Stands for a loss."""


class ReadConfig(StageConfig):
    type: Literal["fake_read"] = "fake_read"
    views: InputPath
    """A text file."""


@register("stage", ReadConfig)
class Read(Stage):
    """A file becomes a tensor of its bytes, without steps."""

    writes = ("views",)

    def start(self) -> int:
        content = self.config.views.read_bytes()
        if content.startswith(b"BAD"):
            raise InputError(f"{self.config.views}: is bad; give a good one")
        self.views = torch.tensor(list(content[:64]), dtype=torch.float64)
        return 0

    def step(self, step):
        raise NotImplementedError

    def finish(self):
        self.context.emit("metric", length=len(self.views))
        return {"views": self.views}


class WalkConfig(StageConfig):
    type: Literal["fake_walk"] = "fake_walk"
    steps: int = Field(20, ge=0)
    """How many steps to walk."""
    size: int = Field(64, ge=1, le=10_000_000)
    stride: Annotated[Schedule, Values(gt=0, le=10)] = 1.0
    """Length of a step."""
    width: Annotated[Schedule, Values(int, ge=1)] = 1
    range: tuple[float, float] = (-1.0, 1.0)
    mode: Literal["fast", "slow"] = "fast"
    loss: list[Annotated[Config, OneOf("loss")]] = []
    pause: float = Field(0.0, ge=0)
    """Seconds that a step sleeps."""
    fail_at: int | None = None
    """A step that ends in an error of the kind `failure`."""
    failure: Literal["diverged", "input", "bug", "memory", "interrupt", "terminate", "twice"] = "diverged"


@register("stage", WalkConfig)
class Walk(Stage):
    """A random walk from its input, by a momentum of its own."""

    reads = ("views",)
    reads_if_there = ("mesh",)
    writes = ("representation",)

    def start(self, views, mesh=None) -> int:
        self.position = torch.zeros(self.config.size, dtype=torch.float64) + views.sum()
        self.momentum = torch.zeros_like(self.position)
        self.n_calls = 0  # not in the state on purpose: nothing may depend on it
        return self.config.steps

    def step(self, step):
        if step == self.config.fail_at:
            self.fail(step)
        time.sleep(self.config.pause)
        kick = torch.randn(self.position.shape, generator=self.context.generator(step), dtype=torch.float64)
        self.momentum = 0.9 * self.momentum + self.config.stride(step) * kick
        self.position = torch.sin(self.position + self.momentum)
        self.n_calls += 1
        loss = self.context.tap("loss", step, self.position.square().mean())
        return {"loss": loss, "stride": self.config.stride(step)}

    def fail(self, step):
        kind = self.config.failure
        if kind == "diverged":
            raise Diverged(f"stage '{self.context.name}': loss was nan at step {step}; lower the stride", "loss", step)
        if kind == "input":
            raise InputError("the input is bad; give a good one")
        if kind == "bug":
            raise KeyError("a fault in the code")
        if kind == "memory":
            raise MemoryError("cannot allocate 99 GB")
        for number in {"interrupt": [signal.SIGINT], "twice": [signal.SIGINT] * 2, "terminate": [signal.SIGTERM]}[kind]:
            os.kill(os.getpid(), number)

    def finish(self):
        return {"representation": self.position}

    def state(self):
        return {"position": self.position, "momentum": self.momentum}

    def load_state(self, state):
        self.position, self.momentum = state["position"], state["momentum"]


class WriteConfig(StageConfig):
    type: Literal["fake_write"] = "fake_write"
    file: FileName = "walk.bin"
    """Name of the file in the result folder."""


@register("stage", WriteConfig)
class Write(Stage):
    reads = ("representation",)
    writes = ("asset",)

    def start(self, representation) -> int:
        self.representation = representation
        return 1

    def step(self, step):
        atomic_write(self.context.result / self.config.file, self.representation.numpy().tobytes())
        self.context.emit("file", path=self.config.file)
        return {}

    def finish(self):
        self.context.emit("manifest", size=len(self.representation))
        return {"asset": self.context.result / self.config.file}


RECIPE = """\
name: walk
description: A random walk, to test runs.
arguments: {views: fake_read.views, steps: [first.steps, second.steps], stride: first.stride}
stage:
  - {type: fake_read, views: ???}
  - {type: fake_walk, name: first, stride: {0: 1, 10: 0.5}}
  - {type: fake_walk, name: second, stride: {from: 1, to: 0.1, until_step: 15}, as: {representation: far}}
  - {type: fake_write, from: {representation: far}}
"""


def walk(output: str | Path, **arguments) -> Run:
    """A run of `RECIPE`, saved as r.yaml in the current folder; see the fixture `folder`."""
    return Run("r.yaml", output, **{"views": "v.txt"} | arguments)


def result_hash(output: str | Path) -> str:
    """Of all that a run makes; only the report tells times."""
    result = Path(output, "result")
    return tree_hash(result, skip=result / "report.html")


FOLDER = Path(__file__).parent


def python(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run python with asset3d of this checkout and these stages within reach."""
    places = [str(FOLDER.parent), str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, **options)


if __name__ == "__main__":
    from asset3d.run import main
    sys.exit(main())
