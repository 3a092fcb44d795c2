"""Gaussian splatting against a scalar, single-threaded splatter in C++: 100 000 Gaussians at 512 x 512 pixels."""
import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from gaussian_scene import gaussian_scene
from harness import compare, row

from asset3d.ops.gaussian import rasterize_gaussians

FIELDS = ("means", "quats", "scales", "opacities", "colors")
floats = ctypes.c_void_p


class Scene(ctypes.Structure):
    _fields_ = [*((name, floats) for name in FIELDS), ("n", ctypes.c_int64)]


class Camera(ctypes.Structure):
    _fields_ = [("m", ctypes.c_float * 16), ("k", ctypes.c_float * 4),
                *((name, ctypes.c_int) for name in ("width", "height", "tight"))]


class ScalarSplatter:
    """benchmarks/scalar_splatter.cpp, compiled by the system's compiler for the baseline of its instruction set."""

    def __init__(self, scene: dict, tight: bool = False):
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        if compiler is None:
            raise RuntimeError("the scalar splatter needs a C++ compiler: c++, g++ or clang++, or CXX")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "scalar_splatter.so"
            source = Path(__file__).with_name("scalar_splatter.cpp")
            flags = ["-O3", "-std=c++17", "-fno-math-errno", "-shared", "-fPIC"]
            subprocess.run([compiler, *flags, source, "-o", library], check=True)
            self.library = ctypes.CDLL(str(library))
        self.library.splat_forward.restype = ctypes.c_int64
        self.tensors = [scene[name].detach().contiguous() for name in FIELDS]
        self.scene = Scene(*(t.data_ptr() for t in self.tensors), len(scene["means"]))
        height, width = scene["resolution"]
        self.camera = Camera((ctypes.c_float * 16)(*scene["world_to_camera"].flatten().tolist()),
                             (ctypes.c_float * 4)(*scene["intrinsics"].flatten().tolist()), width, height, tight)
        self.images = [torch.empty(1, height, width, c) for c in (3, 1, 1)]
        self.grads = [torch.zeros_like(t) for t in self.tensors]

    def forward(self) -> int:
        return self.library.splat_forward(ctypes.byref(self.scene), ctypes.byref(self.camera),
                                          *(floats(t.data_ptr()) for t in self.images))

    def backward(self, grads: list[torch.Tensor]) -> None:
        pointers = [*self.images[1:], *grads, *self.grads]
        self.library.splat_backward(ctypes.byref(self.scene), ctypes.byref(self.camera),
                                    *(floats(t.data_ptr()) for t in pointers))


def check(scene: dict, scalar: ScalarSplatter, grads: list[torch.Tensor]) -> int:
    """Both draw the same images and have the same gradients; returns the number of blended pairs."""
    leaves = {name: scene[name].detach().cpu().requires_grad_() for name in FIELDS}
    ours = rasterize_gaussians(**{**scene, **leaves})[:3]
    pairs = scalar.forward()
    scalar.backward(grads)
    found = torch.autograd.grad(ours, list(leaves.values()), grads)
    for a, b in [*zip(ours, scalar.images), *zip(found, scalar.grads)]:
        error = (torch.linalg.norm(a - b) / torch.linalg.norm(b)).item()
        if not error < 1e-3:  # a pixel whose alpha is 1/255 but for rounding is drawn by one and left out by the other
            raise AssertionError(f"the scalar splatter and rasterize_gaussians differ by {error:.1e} of the norm")
    return pairs


def run(device: str = "cpu", n: int = 100_000, resolution: int = 512, rounds: int = 15) -> list[dict]:
    scene = gaussian_scene(n, resolution)
    scalar = ScalarSplatter(scene)
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(image.shape, generator=generator) for image in scalar.images]
    pairs = check(scene, scalar, grads)
    tight = ScalarSplatter(scene, tight=True)
    scene = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in scene.items()}
    leaves = [scene[name].requires_grad_() for name in FIELDS]
    device_grads = [grad.to(device) for grad in grads]

    def forward():
        with torch.no_grad():
            rasterize_gaussians(**scene)

    def both():
        torch.autograd.grad(rasterize_gaussians(**scene)[:3], leaves, device_grads)

    both_of = lambda splatter: (splatter.forward(), splatter.backward(grads))
    functions = {"asset3d": (forward, both), "scalar C++": (scalar.forward, lambda: both_of(scalar)),
                 "scalar C++, tight boxes": (tight.forward, lambda: both_of(tight))}
    rows = []
    for k, (way, need) in enumerate([("forward", 15.0), ("forward + backward", 10.0)]):
        seconds = compare({name: pair[k] for name, pair in functions.items()}, rounds, device)
        work = f"gaussian {n // 1000}k at {resolution}^2, {pairs / 1e6:.1f} M pairs, {way}"
        rows += [row(work, seconds, "scalar C++", need=need), row(work, seconds, "scalar C++, tight boxes")]
    return rows
