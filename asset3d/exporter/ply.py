"""PLY, binary: geometry with normals, colours and texture coordinates per vertex, for scanning and research tools."""
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from asset3d.exporter.base import Axes, Exporter, checked, image_bytes, in_world, vertex_colors
from asset3d.registry import Config, register
from asset3d.scene.image import to_bytes
from asset3d.scene.mesh import Mesh
from asset3d.workspace import atomic_write


class PlyConfig(Config):
    """A binary PLY file."""

    type: Literal["ply"] = "ply"
    axes: Axes = "gltf"
    """The world that coordinates are written in; Blender's importer of PLY takes them as they are: blender."""
    colors: bool = True
    """Write a colour per vertex: the mesh's own, or the base colour's where the vertex is."""


@register("exporter", PlyConfig)
class Ply(Exporter):
    """`stem.ply`, and `stem_ply.png` where the mesh has texture coordinates and a base colour."""

    def export(self, mesh: Mesh, folder: Path, stem: str = "asset") -> list[Path]:
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


def _content(columns: list[tuple], faces: np.ndarray, comments: list[str]) -> bytes:
    """Header, vertices and faces. Columns: PLY's type, numpy's type, name, values (V,)."""
    vertices = np.empty(len(columns[0][3]), [(name, kind) for _, kind, name, _ in columns])
    for _, _, name, values in columns:
        vertices[name] = values
    triangles = np.empty(len(faces), [("count", "u1"), ("index", "<i4", 3)])
    triangles["count"], triangles["index"] = 3, faces
    header = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(vertices)}",
              *(f"property {kind} {name}" for kind, _, name, _ in columns),
              f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(header) + "\n").encode() + vertices.tobytes() + triangles.tobytes()
