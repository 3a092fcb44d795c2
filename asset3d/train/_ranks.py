"""Several processes that train one model together, as `accelerate launch` starts them.

Every process does all that a run does, with its own share of the samples, and all have the same weights at all times:
gradients are averaged over them. The first one's run is the run; the others work in a folder of their own that goes
away with them.
"""
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

PATIENCE = timedelta(hours=6)
"""How long processes wait for one that makes what all need."""
NOT_COPIED = ("result", ".lock", ".asset3d-tmp-*", "*.png", "events.jsonl")


def count() -> int:
    """Processes that work together; 1 where this one was started by itself."""
    return int(os.environ.get("WORLD_SIZE", 1))


def number() -> int:
    """Which of them this is; 0 is the first."""
    return int(os.environ.get("RANK", 0)) if count() > 1 else 0


class Ranks:
    """This process among all. Where it is the only one, nothing here does anything.

    Gradients are averaged here, after the backward pass, because the loss of a trainer is no forward pass of one
    module, which is what DistributedDataParallel wraps.
    """

    def __init__(self, device: torch.device | str):
        """`device`: of the run; of several GPUs each process takes its own."""
        self.count, self.number, self.device, self.state = count(), number(), torch.device(device), None
        if self.count > 1:
            from accelerate import PartialState

            self.state = PartialState(cpu=self.device.type == "cpu", timeout=PATIENCE)
            self.device = self.state.device

    def wait(self) -> None:
        """Until all are here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def first_alone(self) -> AbstractContextManager:
        """The body is done by the first process, then by the others: they find in the cache what it has made."""
        return nullcontext() if self.state is None else self.state.main_process_first()

    def purpose(self, purpose: str = "") -> str:
        """What tells the draws of this process from those of the others; the first draws as a single one would."""
        return f"{purpose} of process {self.number}" if self.number else purpose

    def average(self, loss: Tensor, parameters: Iterable[torch.nn.Parameter]) -> Tensor:
        """Average the gradients of parameters over all processes, in place; returns the averaged loss."""
        if self.state is None:
            return loss
        from accelerate.utils import reduce

        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = reduce(torch.cat([loss.detach().reshape(1), *(g.reshape(-1) for g in gradients)]), "mean")
        averaged = flat[1:].split([p.numel() for p in parameters])
        for p, gradient in zip(parameters, averaged):
            p.grad = gradient.view_as(p).clone()
        return flat[0]


@contextmanager
def own_folder(device: str, resumed: Path | None) -> Iterator[Path]:
    """Where another process than the first runs: an empty folder, or, of a run that goes on, a copy of what decides
    how. All processes must be here together.

    Args:
        device: Of the run.
        resumed: The run's folder, where it goes on.
    """
    with TemporaryDirectory(prefix="asset3d-process-") as scratch:
        folder = Path(scratch, "run")
        if resumed is not None:
            shutil.copytree(resumed, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
            Ranks(device).wait()
        yield folder
