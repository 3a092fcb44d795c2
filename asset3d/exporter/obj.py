"""OBJ with MTL and PNG: text that every program of the last thirty years reads."""
from pathlib import Path
from typing import Literal

import numpy as np

from asset3d.exporter.base import Axes, Exporter, checked, image_bytes, in_world
from asset3d.registry import Config, register
from asset3d.scene.mesh import Mesh
from asset3d.workspace import atomic_write


class ObjConfig(Config):
    """A Wavefront OBJ file, its material file and its textures."""

    type: Literal["obj"] = "obj"
    axes: Axes = "gltf"
    """The world that coordinates are written in. Importers that convert axes themselves (Blender's and Unity's for OBJ)
    expect gltf; the others are for importers and programs that take coordinates as they are."""


@register("exporter", ObjConfig)
class Obj(Exporter):
    """`stem.obj`, `stem.mtl`, `stem.png` (base colour) and `stem_normal.png`, those that the material has."""

    def export(self, mesh: Mesh, folder: Path, stem: str = "asset") -> list[Path]:
        mesh = in_world(checked(mesh), self.config.axes)
        material, written = ["newmtl material", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1"], []
        if mesh.material is not None:
            material += [f"Pr {mesh.material.roughness:.6g}", f"Pm {mesh.material.metallic:.6g}"]
        for image, name, key in self._textures(mesh, stem):
            written.append(atomic_write(folder / name, image_bytes(image)))
            material.append(f"{key} {name}")
        written.append(atomic_write(folder / f"{stem}.mtl", "\n".join(material) + "\n"))
        return [atomic_write(folder / f"{stem}.obj", _text(mesh, stem)), *written]

    @staticmethod
    def _textures(mesh: Mesh, stem: str):
        """(image, file, key of the material file) of each texture."""
        material = mesh.material if mesh.uvs is not None else None
        if material is not None and material.base_color is not None:
            yield material.base_color, f"{stem}.png", "map_Kd"
        if material is not None and material.normal_map is not None:
            yield material.normal_map, f"{stem}_normal.png", "norm"


def _text(mesh: Mesh, stem: str) -> str:
    """The OBJ; its v grows upward, ours down. Colours follow the position, as most programs read them."""
    vertices = mesh.vertices.numpy()
    if mesh.colors is not None and mesh.uvs is None:
        vertices = np.concatenate([vertices, mesh.colors.numpy()], 1)
    parts = [f"# asset3d\nmtllib {stem}.mtl\no {stem}\n", _rows("v", vertices)]
    corner = ["%d"]
    if mesh.uvs is not None:
        parts.append(_rows("vt", (mesh.uvs * mesh.uvs.new_tensor([1, -1]) + mesh.uvs.new_tensor([0, 1])).numpy()))
        corner.append("%d")
    if mesh.normals is not None:
        parts.append(_rows("vn", mesh.normals.numpy()))
        corner += ["%d"] if mesh.uvs is not None else ["", "%d"]
    line = "f " + " ".join(["/".join(corner)] * 3) + "\n"
    repeat = sum(part == "%d" for part in corner)
    index = np.repeat(mesh.faces.numpy() + 1, repeat, axis=1)
    parts += ["usemtl material\n", "s 1\n", (line * len(index)) % tuple(index.reshape(-1).tolist())]
    return "".join(parts)


def _rows(key: str, values: np.ndarray) -> str:
    """Lines of numbers with the nine digits that keep every float32 apart."""
    line = key + " %.9g" * values.shape[1] + "\n"
    return (line * len(values)) % tuple(values.astype(float).reshape(-1).tolist())
