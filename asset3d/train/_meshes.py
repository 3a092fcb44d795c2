"""Objects from files, as training data: moved into the unit cube, seen by the rig of Zero-1-to-3, named by their files.

V views, S rows and columns.
"""
import hashlib
import re
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.ops.triangle import interpolate, rasterize, texture
from asset3d.scene import rigs
from asset3d.scene.camera import Camera
from asset3d.scene.mesh import READERS, Mesh, load_mesh

SUPERSAMPLE = 2
"""Rows and columns of samples per pixel, as the toybox has it."""
SHADE = (0.3, 0.6)
"""Light from the camera on objects of one colour, ambient and diffuse: without it they would be silhouettes, and white
ones would not be seen in front of white."""
VERSION = 1
"""Of what is rendered: views that are kept are drawn anew when it changes."""


class Meshes:
    """The files of a split: the same ones whatever their order, and whatever else is in the folder's name."""

    def __init__(self, folder: Path, split: str, held_out: float, most: int | None = None):
        """
        Args:
            folder: Of mesh files.
            split: "train", or "held": those whose names have the smallest hashes.
            held_out: Share of the files that is held out.
            most: Of all files, how many are used; None: all.

        Raises:
            InputError: There are no two files.
        """
        self.folder = folder
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")
                       if path.suffix.lower() in READERS and path.is_file())
        if len(names) < 2:
            raise InputError(f"{folder}: holds {len(names)} mesh files ({', '.join(READERS)}); a training needs two at "
                             "least, one of them held out")
        by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:most]
        n_held = min(max(1, round(held_out * len(by_hash))), len(by_hash) - 1)
        self.names = sorted(by_hash[:n_held] if split == "held" else by_hash[n_held:])
        self.all_names = sorted(by_hash)

    @property
    def key(self) -> str:
        """Changes with the files; by size and time, since there may be many."""
        digest = hashlib.sha256(str(VERSION).encode())
        for name in self.names:
            status = (self.folder / name).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.names)

    def vocabulary(self) -> tuple[str, ...]:
        """The words of all captions, held-out ones included: words are known, what they look like is not."""
        return tuple(sorted({word for name in self.all_names for word in caption_of(name).split()}))

    def seen(self, index: int, count: int, size: int):
        """Colours (V, S, S, 4), depth (V, S, S, 1), cameras, and the caption of a file.

        Raises:
            InputError: it cannot be read, or has no surface.
        """
        name = self.names[index]
        mesh = in_unit_cube(load_mesh(self.folder / name), name)
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
        camera = rigs.zero123(torch.Generator().manual_seed(seed), count, size)
        color, depth = render(mesh, camera)
        return color, depth, camera, caption_of(name)


def caption_of(name: str) -> str:
    """The words of a file's name: `old_wooden-stool2.glb` is `old wooden stool`."""
    return " ".join(re.findall(r"[a-z]+", Path(name).stem.lower())) or "object"


def in_unit_cube(mesh: Mesh, name: str) -> Mesh:
    """The middle of its box at 0, the longest side 1."""
    used = mesh.vertices[mesh.faces.flatten().unique()]
    if not len(used) or not used.isfinite().all() or (used.amax(0) - used.amin(0)).max() <= 0:
        raise InputError(f"{name}: has no surface")
    low, high = used.amin(0), used.amax(0)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = torch.cat([torch.eye(3), -(low + high)[:, None] / 2], 1).double() / (high - low).max().double()
    return mesh.transformed(matrix)


def render(mesh: Mesh, camera: Camera) -> tuple[Float[Tensor, "V S S 4"], Float[Tensor, "V S S 1"]]:
    """Unlit straight colours and alpha, and depth at the pixel centres, view by view: what bounds the memory."""
    views = [_render(mesh, camera[slice(k, k + 1)]) for k in range(len(camera))]
    return tuple(torch.cat(maps) for maps in zip(*views))


def _render(mesh: Mesh, camera: Camera) -> tuple[Tensor, Tensor]:
    size, faces = camera.height * SUPERSAMPLE, mesh.faces.int()
    clip = camera.clip_positions(mesh.vertices)
    rast, rast_db = rasterize(clip, faces, (size, size))
    hit = (rast[..., 3:] > 0).float()
    shown = torch.cat([_color(mesh, camera, rast, rast_db) * hit, hit], -1)
    pooled = torch.nn.functional.avg_pool2d(shown.permute(0, 3, 1, 2), SUPERSAMPLE).permute(0, 2, 3, 1)
    color = pooled[..., :3] / pooled[..., 3:].clamp_min(1e-6)
    coarse, _ = rasterize(clip, faces, (camera.height, camera.width))
    depth = interpolate(clip[..., 3:].contiguous(), coarse, faces)[0] * (coarse[..., 3:] > 0)
    return torch.cat([color, pooled[..., 3:]], -1), depth


def _color(mesh: Mesh, camera: Camera, rast: Tensor, rast_db: Tensor) -> Tensor:
    faces = mesh.faces.int()
    if mesh.uvs is not None and mesh.material is not None and mesh.material.base_color is not None:
        uv, uv_da = interpolate(mesh.uvs[None], rast, faces, rast_db, "all")
        return texture(mesh.material.base_color[None], uv, uv_da, "linear-mipmap-linear", boundary_mode="wrap")
    colors = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
    color, _ = interpolate(colors[None].contiguous(), rast, faces)
    if (colors != colors[:1]).any():
        return color
    toward = (mesh.face_normals() * camera.forward).sum(-1, keepdim=True).abs()
    return color * (SHADE[0] + SHADE[1] * toward[(rast[..., 3].long() - 1).clamp_min(0)])
