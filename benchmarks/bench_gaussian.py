"""Gaussian splatting against a scalar, single-threaded splatter in C++: 100 000 Gaussians at 512 x 512 pixels."""
import ctypes
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from gaussian_scene import gaussian_scene
from harness import compare, floor_seconds, row, rows_of_peers

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


def gsplat_renderer(scene: dict):
    """The same images by gsplat, of RGB and expected depth, where it is installed; else None."""
    if importlib.util.find_spec("gsplat") is None:
        return None
    import gsplat

    height, width = scene["resolution"]
    flip = scene["world_to_camera"].new_tensor([1.0, -1.0, -1.0, 1.0])  # y down, z forward
    fx, fy, cx, cy = scene["intrinsics"][0].tolist()
    lens = scene["intrinsics"].new_tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]])

    def render():
        images, alphas, _ = gsplat.rasterization(
            *(scene[name] for name in FIELDS), flip[:, None] * scene["world_to_camera"], lens, width, height,
            eps2d=0.3, render_mode="RGB+ED")
        return images[..., :3], alphas, images[..., 3:]

    return render


def floors(device: str, n: int, resolution: int, pairs: int) -> tuple[float, float]:
    """Seconds of the roofline, forward and with the way back: what is read and written once, and about 14 operations
    per blended pair forward and 40 back, as multiply-adds."""
    moved = 4 * (n * (3 + 4 + 3 + 1 + 3) + resolution**2 * 5)
    return (floor_seconds(device, bytes=moved, float32=28.0 * pairs),
            floor_seconds(device, bytes=3 * moved, float32=108.0 * pairs))


def ways_of(render, leaves: list[torch.Tensor], grads: list[torch.Tensor]) -> tuple:
    """Forward alone, and with the gradients of all that has one."""
    return torch.no_grad()(render), lambda: torch.autograd.grad(render(), leaves, grads)


def large_rows(device: str, rounds: int) -> list[dict]:
    """A million Gaussians on as many pixels as 1080p has, which a scalar loop is too slow for."""
    scene = gaussian_scene(1_000_000, 1440)
    scene = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in scene.items()}
    leaves = [scene[name].requires_grad_() for name in FIELDS]
    grads = [torch.ones(1, 1440, 1440, c, device=device) for c in (3, 1, 1)]
    renderers = {"asset3d": lambda: rasterize_gaussians(**scene)[:3], "gsplat": gsplat_renderer(scene)}
    functions = {name: ways_of(render, leaves, grads) for name, render in renderers.items() if render is not None}
    rows = []
    for k, way in enumerate(["forward", "forward + backward"]):
        seconds = compare({name: pair[k] for name, pair in functions.items()}, rounds, device)
        work = f"gaussian 1000k at 1440^2, {way}"
        rows += rows_of_peers(work, seconds, {"gsplat": 1.0}) or [row(work, seconds, "")]
    return rows


def run(device: str = "cpu", n: int = 100_000, resolution: int = 512, rounds: int = 15) -> list[dict]:
    scene = gaussian_scene(n, resolution)
    scalar, tight = ScalarSplatter(scene), ScalarSplatter(scene, tight=True)
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(image.shape, generator=generator) for image in scalar.images]
    pairs = check(scene, scalar, grads)
    scene = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in scene.items()}
    leaves = [scene[name].requires_grad_() for name in FIELDS]
    device_grads = [grad.to(device) for grad in grads]

    scalar_ways = lambda splatter: (splatter.forward, lambda: (splatter.forward(), splatter.backward(grads)))
    functions = {"asset3d": ways_of(lambda: rasterize_gaussians(**scene)[:3], leaves, device_grads),
                 "scalar C++": scalar_ways(scalar), "scalar C++, tight boxes": scalar_ways(tight)}
    rows = []
    for k, (way, need) in enumerate([("forward", 15.0), ("forward + backward", 10.0)]):
        seconds = compare({name: pair[k] for name, pair in functions.items()}, rounds, device)
        work = f"gaussian {n // 1000}k at {resolution}^2, {pairs / 1e6:.1f} M pairs, {way}"
        rows += [row(work, seconds, "scalar C++", need=need, floor=floors(device, n, resolution, pairs)[k]),
                 row(work, seconds, "scalar C++, tight boxes")]
    return rows + (large_rows(device, rounds) if device == "cuda" else [])
