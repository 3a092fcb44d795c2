"""GLB: glTF 2.0 in one binary file, metallic-roughness material, as every engine reads it.

glTF fixes its axes (+Y up, +Z front) and unit (metre); importers of Blender, Unity, Unreal, Maya and Godot convert
them, so that this exporter has no axes to choose. Gaussian splats are points with KHR_gaussian_splatting.
"""
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from asset3d.exporter.base import Exporter, checked, checked_splats, image_bytes
from asset3d.registry import Config, register
from asset3d.scene.color import linear_from_srgb
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import smooth_normals
from asset3d.scene.splats import Splats
from asset3d.scene.tangents import with_tangents
from asset3d.workspace import atomic_write

SPLATS = "KHR_gaussian_splatting"
ARRAY, INDEX = 34962, 34963  # buffer targets
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


class GltfConfig(Config):
    """A binary glTF 2.0 file: geometry, material and textures in one."""

    type: Literal["gltf"] = "gltf"
    base_color: Literal["png", "jpeg"] = "png"
    """How the base colour is stored: png is exact, jpeg is several times smaller."""
    double_sided: bool = False
    """Draw back faces too, for surfaces with holes."""


@register("exporter", GltfConfig)
class Gltf(Exporter):
    """`stem.glb`. Of meshes, Khronos' validator accepts it without a remark; of splats, it does not know the
    extension's attributes yet."""

    takes = (Mesh, Splats)

    def export(self, mesh: Mesh | Splats, folder: Path, stem: str = "asset") -> list[Path]:
        buffer = _Buffer()
        if isinstance(mesh, Splats):
            primitive, more = _splats(checked_splats(mesh), buffer), {"extensionsUsed": [SPLATS]}
        else:
            mesh = _complete(checked(mesh))
            primitive = {"attributes": _attributes(mesh, buffer), "indices": buffer.indices(mesh.faces.numpy()),
                         "material": 0, "mode": 4}
            more = self._material(mesh, buffer)
        document = {
            "asset": {"version": "2.0", "generator": "asset3d"},
            "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "name": stem}],
            "meshes": [{"name": stem, "primitives": [primitive]}],
            **more,
            "accessors": buffer.accessors, "bufferViews": buffer.views, "buffers": [{"byteLength": len(buffer.data)}],
        }
        return [atomic_write(folder / f"{stem}.glb", _container(document, bytes(buffer.data)))]

    def _material(self, mesh: Mesh, buffer: "_Buffer") -> dict:
        """The material, and the textures, images and sampler that it needs."""
        material = mesh.material
        surface = {"metallicFactor": float(material.metallic if material else 0),
                   "roughnessFactor": float(material.roughness if material else 1)}
        out = {"name": "material", "pbrMetallicRoughness": surface}
        if self.config.double_sided:
            out["doubleSided"] = True
        images = []
        if _is_textured(mesh) and material.base_color is not None:
            surface["baseColorTexture"] = {"index": len(images)}
            images.append(buffer.image("base_color", image_bytes(material.base_color, self.config.base_color),
                                       f"image/{self.config.base_color}"))
        if _is_textured(mesh) and material.normal_map is not None:
            out["normalTexture"] = {"index": len(images)}
            images.append(buffer.image("normal", image_bytes(material.normal_map), "image/png"))
        if not images:
            return {"materials": [out]}
        sampler = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR,
                   "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        return {"materials": [out], "images": images, "samplers": [sampler],
                "textures": [{"sampler": 0, "source": k} for k in range(len(images))]}


class _Buffer:
    """The binary chunk while it grows, and what describes it."""

    def __init__(self):
        self.data, self.views, self.accessors = bytearray(), [], []

    def _view(self, content: bytes, **more) -> int:
        self.data.extend(b"\0" * (-len(self.data) % 4))
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **more})
        self.data.extend(content)
        self.data.extend(b"\0" * (-len(self.data) % 4))
        return len(self.views) - 1

    def attribute(self, values: np.ndarray, bounds: bool = False) -> int:
        """An accessor of float32 numbers (V, 1) or vectors (V, 2), (V, 3) or (V, 4)."""
        values = np.ascontiguousarray(values, "<f4")
        accessor = {"bufferView": self._view(values.tobytes(), target=ARRAY), "componentType": FLOAT,
                    "count": len(values), "type": f"VEC{values.shape[1]}" if values.shape[1] > 1 else "SCALAR"}
        if bounds:  # as exact decimals of the float32 values
            accessor |= {"min": values.min(0).astype(float).tolist(), "max": values.max(0).astype(float).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, faces: np.ndarray) -> int:
        """An accessor of the faces' corners, 16 bits each where that is enough (65535 itself is reserved)."""
        small = faces.max() < 65535
        content = np.ascontiguousarray(faces.reshape(-1), "<u2" if small else "<u4")
        self.accessors.append({"bufferView": self._view(content.tobytes(), target=INDEX), "count": len(content),
                               "componentType": UNSIGNED_SHORT if small else UNSIGNED_INT, "type": "SCALAR"})
        return len(self.accessors) - 1

    def image(self, name: str, content: bytes, mime: str) -> dict:
        return {"name": name, "bufferView": self._view(content), "mimeType": mime}


def _is_textured(mesh: Mesh) -> bool:
    return mesh.uvs is not None and mesh.material is not None


def _complete(mesh: Mesh) -> Mesh:
    """With normals, and with tangents if there is a normal map: importers differ in those that they make themselves."""
    if mesh.normals is None:
        normals = smooth_normals(mesh.vertices.double().numpy(), mesh.faces.numpy())
        mesh = replace(mesh, normals=mesh.vertices.new_tensor(normals))
    if _is_textured(mesh) and mesh.material.normal_map is not None and mesh.tangents is None:
        mesh = checked(with_tangents(mesh))
    return mesh


def _attributes(mesh: Mesh, buffer: _Buffer) -> dict[str, int]:
    """Accessors of what the material uses."""
    out = {"POSITION": buffer.attribute(mesh.vertices.numpy(), bounds=True),
           "NORMAL": buffer.attribute(mesh.normals.numpy())}
    textured = _is_textured(mesh)
    if textured and mesh.material.normal_map is not None:
        out["TANGENT"] = buffer.attribute(mesh.tangents.numpy())
    if textured and (mesh.material.normal_map is not None or mesh.material.base_color is not None):
        out["TEXCOORD_0"] = buffer.attribute(mesh.uvs.numpy())
    if mesh.colors is not None and not (textured and mesh.material.base_color is not None):
        # glTF's vertex colours are linear, its base-colour textures are not
        out["COLOR_0"] = buffer.attribute(linear_from_srgb(mesh.colors.clamp(0, 1).numpy()))
    return out


def _splats(splats: Splats, buffer: _Buffer) -> dict:
    """A primitive of points with the attributes of KHR_gaussian_splatting, and colours for viewers without it."""
    color = linear_from_srgb(splats.colors.double().numpy())
    attributes = {
        "POSITION": buffer.attribute(splats.means.numpy(), bounds=True),
        "COLOR_0": buffer.attribute(np.concatenate([color, splats.opacities.numpy()[:, None]], 1)),
        f"{SPLATS}:ROTATION": buffer.attribute(splats.quats[:, [1, 2, 3, 0]].numpy()),
        f"{SPLATS}:SCALE": buffer.attribute(splats.scales.numpy()),
        f"{SPLATS}:OPACITY": buffer.attribute(splats.opacities[:, None].numpy()),
    }
    for degree in range(splats.degree + 1):
        for k in range(2 * degree + 1):
            terms = splats.harmonics[:, degree * degree + k].numpy()
            attributes[f"{SPLATS}:SH_DEGREE_{degree}_COEF_{k}"] = buffer.attribute(terms)
    about = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
             "sortingMethod": "cameraDistance"}
    return {"attributes": attributes, "mode": 0, "extensions": {SPLATS: about}}


def _container(document: dict, binary: bytes) -> bytes:
    """The GLB: a header, the JSON chunk and the binary chunk, each padded to 4 bytes."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks
