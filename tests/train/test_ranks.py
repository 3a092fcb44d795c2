"""Two processes train one model: the first one's run is the run, with the gradient of both."""
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trainings
from safetensors.torch import load_file

import asset3d
from asset3d.stage.base import Context
from asset3d.train._ranks import Ranks
from asset3d.train.zero123 import Zero123Trainer

ROOT = Path(asset3d.__file__).parent.parent
# what `accelerate launch` calls for several GPUs; by itself it starts several processes on CPUs through MPI only
LAUNCH = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def launch(*arguments, folder) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, *LAUNCH, "--master_port", str(free_port()), "-m", "asset3d.run", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=600)


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "result" / "model" / "unet" / "diffusion_pytorch_model.safetensors")


def command_line(options: dict) -> list[str]:
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]


def test_a_process_by_itself_is_left_alone():
    ranks, p = Ranks("cpu"), torch.nn.Parameter(torch.ones(3))
    p.sum().backward()
    loss = torch.tensor(2.0)
    assert ranks.average(loss, [p]) is loss and torch.equal(p.grad, torch.ones(3))
    assert ranks.purpose() == "" and ranks.number == 0 and ranks.device.type == "cpu"


@pytest.mark.long
def test_two_processes_train_as_one_with_both_of_their_samples(autoencoder, cache, tmp_path, monkeypatch):
    options = trainings.zero123(cache, autoencoder, steps=4, checkpoint_every=2, seed=3)
    done = launch("train/zero123", "output=together", *command_line(options), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done in") == 1 and sorted(p.name for p in tmp_path.iterdir()) == ["together"]

    alone = Zero123Trainer.loss

    def both(trainer, draw):
        """What the second process draws, from its own numbers, beside what the first does."""
        context = Context("train", 3, draw.device, tmp_path, tmp_path)
        other = replace(draw, generator=context.generator(draw.step, " of process 1"))
        first, second = alone(trainer, draw), alone(trainer, other)
        return {name: (first[name] + second[name]) / 2 for name in first}

    monkeypatch.setattr(Zero123Trainer, "loss", both)
    asset3d.Run("train/zero123", tmp_path / "one", **options).result
    together, one = weights(tmp_path / "together"), weights(tmp_path / "one")
    for name in one:
        torch.testing.assert_close(together[name], one[name], atol=2e-5, rtol=1e-3)  # Adam lifts rounding of tiny ones


@pytest.mark.long
def test_two_processes_go_on_where_they_were_stopped(autoencoder, cache, tmp_path):
    options = trainings.zero123(cache, autoencoder, steps=6, checkpoint_every=3)
    arguments = command_line(options)
    assert launch("train/zero123", "output=whole", *arguments, folder=tmp_path).returncode == 0
    whole = trainings.tensors_of(tmp_path / "whole" / "result" / "model")
    for path in (tmp_path / "whole").rglob("step-00000006"):  # as if it had been stopped after the third step
        shutil.rmtree(path)
    done = launch("--resume", "whole", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert trainings.tensors_of(tmp_path / "whole" / "result" / "model") == whole
