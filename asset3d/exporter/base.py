"""What an exporter is given, and what all of them share.

Letters: V vertices, F faces, H rows, W columns, N Gaussians, K terms of spherical harmonics.
"""
import io
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.registry import Config
from asset3d.scene.conventions import WORLDS
from asset3d.scene.image import encode_png, to_bytes
from asset3d.scene.mesh import Mesh
from asset3d.scene.splats import Splats

Axes = Literal["gltf", "blender", "unity", "unreal", "maya"]
"""A program whose world a file's coordinates are in: `asset3d.scene.conventions.WORLDS`."""


class Exporter(ABC):
    """Writes one asset as files of one format. The same asset gives the same bytes, and files are whole or absent."""

    Config: ClassVar[type[Config]]
    takes: ClassVar[tuple[type, ...]] = (Mesh,)
    """Kinds of assets that it writes."""

    def __init__(self, config: Config):
        self.config = config

    @abstractmethod
    def export(self, mesh: Mesh, folder: Path, stem: str = "asset") -> list[Path]:
        """Write `folder/stem.*`; return the files, the one to open first. `mesh` is of one of the kinds in `takes`.

        Raises:
            InputError: the asset cannot be written, with what to do about it.
        """


def checked(mesh: Mesh) -> Mesh:
    """The mesh on the CPU in float32, if it is one that engines can load.

    Raises:
        InputError: no faces, an index without a vertex, attributes of another length, or values that are not finite.
    """
    count = mesh.vertices.shape[0]
    if not len(mesh.faces):
        raise InputError("export: the mesh has no faces; was a surface found?")
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= count:
        raise InputError(f"export: face indices must be in [0, {count}), got {int(mesh.faces.min())} to "
                         f"{int(mesh.faces.max())}")
    fields = {name: getattr(mesh, name) for name in ("vertices", "normals", "uvs", "tangents", "colors")}
    fields = {name: x.detach().cpu().float() for name, x in fields.items() if x is not None}
    for name, x in fields.items():
        if len(x) != count or not bool(torch.isfinite(x).all()):
            raise InputError(f"export: `{name}` must hold {count} finite rows, got {tuple(x.shape)}"
                             + ("" if len(x) != count else " with values that are not finite"))
    for name in ("normals", "tangents"):
        if name in fields:
            x = fields[name]
            fields[name] = torch.cat([torch.nn.functional.normalize(x[:, :3].double(), dim=1).float(), x[:, 3:]], 1)
    return replace(mesh, faces=mesh.faces.detach().cpu().long(), **fields)


def checked_splats(splats: Splats) -> Splats:
    """The Gaussians on the CPU in float32, with unit quaternions.

    Raises:
        InputError: There are none, or values are not finite.
    """
    splats = splats.to("cpu")
    if not len(splats):
        raise InputError("export: there are no Gaussians; were all of them pruned?")
    for name, values in vars(splats).items():
        if not bool(torch.isfinite(values).all()):
            raise InputError(f"export: `{name}` of the Gaussians has values that are not finite")
    quats = torch.nn.functional.normalize(splats.quats.double(), dim=-1).float()
    return replace(splats, quats=quats, **{name: getattr(splats, name).detach().float()
                                           for name in ("means", "scales", "opacities", "harmonics")})


def in_world(mesh: Mesh, axes: Axes) -> Mesh:
    """The mesh in another program's axes and unit; faces are turned round where its world is left-handed."""
    world = WORLDS[axes]
    move = lambda x: torch.from_numpy(world.from_ours(x.double().numpy())).float()
    turn = lambda x: torch.from_numpy(world.directions_from_ours(x.double().numpy())).float()
    out = replace(mesh, vertices=move(mesh.vertices), normals=None if mesh.normals is None else turn(mesh.normals))
    if mesh.tangents is not None:
        sign = -mesh.tangents[:, 3:] if world.left_handed else mesh.tangents[:, 3:]
        out = replace(out, tangents=torch.cat([turn(mesh.tangents[:, :3]), sign], 1))
    return replace(out, faces=mesh.faces.flip(1)) if world.left_handed else out


def image_bytes(image: Float[Tensor, "H W 3"], kind: Literal["png", "jpeg"] = "png") -> bytes:
    """An encoded image of values in [0, 1]; JPEG without subsampling, so that colours stay in their charts."""
    if kind == "png":
        return encode_png(image)
    from PIL import Image
    buffer = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def vertex_colors(mesh: Mesh) -> np.ndarray | None:
    """(V, 3) sRGB in [0, 1]: the mesh's own, else the base colour at each vertex, else none."""
    if mesh.colors is not None:
        return mesh.colors.numpy()
    if mesh.uvs is None or mesh.material is None or mesh.material.base_color is None:
        return None
    texture = mesh.material.base_color.detach().cpu().float().permute(2, 0, 1)[None]
    sampled = torch.nn.functional.grid_sample(texture, (mesh.uvs * 2 - 1)[None, None], padding_mode="border",
                                              align_corners=False)
    return sampled[0, :, 0].T.numpy()
