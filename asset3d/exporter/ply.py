"""PLY, binary: geometry with normals, colours and texture coordinates per vertex, for scanning and research tools.

Gaussian splats are written in the layout that Inria's code began, and that every viewer of splats reads.
"""
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from asset3d.exporter.base import Axes, Exporter, checked, checked_splats, image_bytes, in_world, vertex_colors
from asset3d.registry import Config, register
from asset3d.scene.conventions import WORLDS
from asset3d.scene.image import to_bytes
from asset3d.scene.mesh import Mesh
from asset3d.scene.splats import Splats
from asset3d.workspace import atomic_write


class PlyConfig(Config):
    """A binary PLY file."""

    type: Literal["ply"] = "ply"
    axes: Axes = "gltf"
    """The world that coordinates are written in; Blender's importer of PLY takes them as they are: blender."""
    colors: bool = True
    """Write a colour per vertex: the mesh's own, or the base colour's where the vertex is. Splats always have one."""


LEAST_SCALE, LEAST_OPACITY = 1e-9, 1e-7
"""Below, their logarithm and logit would not be finite. An opacity of 1 - 1e-7 is drawn as 0.99, as 1 is."""


@register("exporter", PlyConfig)
class Ply(Exporter):
    """`stem.ply`, and `stem_ply.png` where the mesh has texture coordinates and a base colour."""

    takes = (Mesh, Splats)

    def export(self, mesh: Mesh | Splats, folder: Path, stem: str = "asset") -> list[Path]:
        if isinstance(mesh, Splats):
            columns = _splat_columns(_splats_in_world(checked_splats(mesh), self.config.axes))
            return [atomic_write(folder / f"{stem}.ply", _header(columns, ["comment asset3d"]) + _rows(columns))]
        mesh = in_world(checked(mesh), self.config.axes)
        columns = [("float", "<f4", name, mesh.vertices[:, k].numpy()) for k, name in enumerate("xyz")]
        if mesh.normals is not None:
            columns += [("float", "<f4", f"n{name}", mesh.normals[:, k].numpy()) for k, name in enumerate("xyz")]
        if mesh.uvs is not None:  # t grows upward
            texture = {"s": mesh.uvs[:, 0].numpy(), "t": 1 - mesh.uvs[:, 1].numpy()}
            columns += [("float", "<f4", name, values) for name, values in texture.items()]
        colors = vertex_colors(mesh) if self.config.colors else None
        if colors is not None:
            levels = to_bytes(torch.from_numpy(colors))
            columns += [("uchar", "u1", name, levels[:, k]) for k, name in enumerate(("red", "green", "blue"))]
        comments, written = ["comment asset3d"], []
        if mesh.uvs is not None and mesh.material is not None and mesh.material.base_color is not None:
            written.append(atomic_write(folder / f"{stem}_ply.png", image_bytes(mesh.material.base_color)))
            comments.append(f"comment TextureFile {stem}_ply.png")
        return [atomic_write(folder / f"{stem}.ply", _content(columns, mesh.faces.numpy(), comments)), *written]


def _splats_in_world(splats: Splats, axes: Axes) -> Splats:
    """The splats in another program's axes and unit."""
    matrix = np.eye(4)
    matrix[:3, :3] = WORLDS[axes].matrix * WORLDS[axes].units_per_metre
    return splats.transformed(torch.from_numpy(matrix))


def _splat_columns(splats: Splats) -> list[tuple]:
    """Positions, normals (which splats have not: 0), colour terms, logit opacity, log scales, quaternions wxyz."""
    higher = splats.harmonics[:, 1:].transpose(1, 2).flatten(1)  # all terms of red, then of green, then of blue
    logit = torch.logit(splats.opacities.double(), LEAST_OPACITY)
    named = [*zip("xyz", splats.means.T), *((f"n{name}", torch.zeros(len(splats))) for name in "xyz"),
             *((f"f_dc_{k}", column) for k, column in enumerate(splats.harmonics[:, 0].T)),
             *((f"f_rest_{k}", column) for k, column in enumerate(higher.T)), ("opacity", logit),
             *((f"scale_{k}", column) for k, column in enumerate(splats.scales.clamp(min=LEAST_SCALE).log().T)),
             *((f"rot_{k}", column) for k, column in enumerate(splats.quats.T))]
    return [("float", "<f4", name, column.numpy()) for name, column in named]


def _content(columns: list[tuple], faces: np.ndarray, comments: list[str]) -> bytes:
    """Header, vertices and faces. Columns: PLY's type, numpy's type, name, values (V,)."""
    triangles = np.empty(len(faces), [("count", "u1"), ("index", "<i4", 3)])
    triangles["count"], triangles["index"] = 3, faces
    more = (f"element face {len(faces)}", "property list uchar int vertex_indices")
    return _header(columns, comments, more) + _rows(columns) + triangles.tobytes()


def _header(columns: list[tuple], comments: list[str], more: tuple[str, ...] = ()) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(columns[0][3])}",
             *(f"property {kind} {name}" for kind, _, name, _ in columns), *more, "end_header"]
    return ("\n".join(lines) + "\n").encode()


def _rows(columns: list[tuple]) -> bytes:
    vertices = np.empty(len(columns[0][3]), [(name, kind) for _, kind, name, _ in columns])
    for _, _, name, values in columns:
        vertices[name] = values
    return vertices.tobytes()
