"""Which device a run takes, and what it says where it cannot have the one that was asked for."""
import pytest
import torch

from asset3d import InputError, Run, _C, doctor
from asset3d._machine import choose_device, require_device
from asset3d.run import main


@pytest.fixture
def gpu(monkeypatch):
    """A machine on which torch sees one GPU; called with True or False: whether the CUDA kernels are built."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    info = _C.build_info()
    return lambda cuda: monkeypatch.setattr(_C, "build_info", lambda: info | {"cuda": cuda})


def test_auto_is_cuda_only_with_kernels(gpu):
    gpu(False)
    assert choose_device("auto") == "cpu" and choose_device("cuda:0") == "cuda:0"
    gpu(True)
    assert choose_device("auto") == "cuda"
    require_device("cuda")
    with pytest.raises(InputError, match="device=cuda:1: torch sees 1 GPUs"):
        require_device("cuda:1")


def test_a_run_goes_to_the_cpu_where_only_its_kernels_are_built(gpu, folder):
    gpu(False)
    assert Run("r.yaml", views="v.txt").recipe.device == "cpu"


def test_cuda_without_kernels_is_refused(gpu, folder, capfd):
    gpu(False)
    assert main(["r.yaml", "views=v.txt", "device=cuda", "output=o"]) == 2
    err = capfd.readouterr().err
    assert "device=cuda: asset3d was built without its CUDA kernels; use device=cpu, or install it again with " in err
    assert not (folder / "o").exists()


def test_advice_about_the_device_names_the_default(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    advice = {finding.topic: finding.advice for finding in doctor.torch_and_gpu()}["gpu"]
    assert advice == "nothing to do: device=auto, the default, takes the CPU"
