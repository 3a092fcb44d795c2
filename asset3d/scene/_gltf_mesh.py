"""Triangles, attributes and materials of a sound glTF file. Letters in shapes: V vertices, F faces."""
import numpy as np
import torch

from asset3d.errors import InputError
from asset3d.scene._gltf import Gltf
from asset3d.scene._mesh_parts import MAX_FACES, MAX_VERTICES, Part
from asset3d.scene._untrusted import printable
from asset3d.scene.color import linear_from_srgb, srgb_from_linear
from asset3d.scene.material import Material

TRIANGLES, STRIP, FAN = 4, 5, 6
MAX_SCALE = 1e15
"""Of a node's transform: coordinates stay within float32."""


def read_gltf(path) -> tuple[list[Part], list[str]]:
    """One part per primitive and use, and remarks; InputError when the file is unsound."""
    gltf = Gltf(path)
    materials: dict[int | None, tuple] = {}
    parts, faces, vertices = [], 0, 0
    primitives = [[_Primitive(gltf, m, p, primitive) for p, primitive in enumerate(_primitives(gltf, m))]
                  for m in range(len(gltf.objects("meshes")))]
    for mesh, matrix in uses(gltf):
        for primitive in primitives[mesh]:
            if primitive.faces is None:
                continue
            faces, vertices = faces + len(primitive.faces), vertices + len(primitive.positions)
            if faces > MAX_FACES or vertices > MAX_VERTICES:
                raise gltf.fail(f"has more than {MAX_FACES} triangles or {MAX_VERTICES} vertices", "simplify it")
            if primitive.material not in materials:
                materials[primitive.material] = _material(gltf, primitive.material)
            parts.append(primitive.part(matrix, *materials[primitive.material]))
    for key, what in (("skins", "skins"), ("animations", "animations")):
        if gltf.objects(key):
            gltf.notes.append(f"{what} are ignored; the model is read in its resting shape")
    return parts, list(dict.fromkeys(gltf.notes))


def _primitives(gltf: Gltf, mesh: int) -> list[dict]:
    primitives = gltf.objects("primitives", gltf.objects("meshes")[mesh])
    if not primitives:
        raise gltf.fail(f"meshes[{mesh}] has no primitives")
    return primitives


def uses(gltf: Gltf) -> list[tuple[int, np.ndarray]]:
    """(mesh, (4, 4) world matrix) of every node of the scene that shows one; all meshes where there is no scene."""
    scenes = gltf.objects("scenes")
    if not scenes:
        return [(mesh, np.eye(4)) for mesh in range(len(gltf.objects("meshes")))]
    scene = gltf.item("scenes", gltf.json.get("scene", 0), "scene")
    roots = scene.get("nodes", [])
    if not isinstance(roots, list):
        raise gltf.fail("scenes: 'nodes' is no list")
    nodes, out, seen = gltf.objects("nodes"), [], set()
    stack = [(root, np.eye(4)) for root in reversed(roots)]
    while stack:
        index, above = stack.pop()
        gltf.item("nodes", index, "scene")
        if index in seen:
            raise gltf.fail(f"nodes[{index}] is used twice in the scene")
        seen.add(index)
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = above @ gltf.local_matrix(index)
        if not (abs(matrix) < MAX_SCALE).all():
            raise gltf.fail(f"nodes[{index}] scales or moves by more than {MAX_SCALE:g}", "apply its transform")
        if "mesh" in nodes[index]:
            out.append((nodes[index]["mesh"], matrix))
        stack += [(child, matrix) for child in reversed(nodes[index].get("children", []))]
    return out


class _Primitive:
    """The arrays of one primitive, checked; `faces` is None for points and lines."""

    def __init__(self, gltf: Gltf, mesh: int, index: int, primitive: dict):
        self.where = where = f"meshes[{mesh}].primitives[{index}]"
        attributes = primitive.get("attributes")
        if not isinstance(attributes, dict) or "POSITION" not in attributes:
            raise gltf.fail(f"{where}: has no POSITION")
        self.gltf, self.faces = gltf, None
        self.material = primitive.get("material")
        if self.material is not None:
            gltf.item("materials", self.material, where)
        self.positions = self._read(attributes, "POSITION", ("VEC3",)).astype(np.float64)
        count = len(self.positions)
        for name, accessor in attributes.items():
            if gltf.item("accessors", accessor, f"{where}.{name}")["count"] != count:
                raise gltf.fail(f"{where}: {printable(name, 40)} has another count than POSITION")
        mode = gltf.integer(primitive, "mode", where, TRIANGLES, high=6)
        if mode < TRIANGLES:
            gltf.notes.append("points and lines are ignored")
            return
        self.faces = self._faces(primitive, mode, count)
        self.normals = self._read(attributes, "NORMAL", ("VEC3",))
        self.tangents = self._read(attributes, "TANGENT", ("VEC4",))
        self.uvs = self._read(attributes, "TEXCOORD_0", ("VEC2",))
        self.colors = self._read(attributes, "COLOR_0", ("VEC3", "VEC4"))
        if self.normals is not None and (abs(np.linalg.norm(self.normals.astype(np.float64), axis=1) - 1) > 0.05).any():
            gltf.notes.append("some normals are not of unit length; all are computed anew")
            self.normals = self.tangents = None

    def _read(self, attributes: dict, name: str, types: tuple[str, ...]) -> np.ndarray | None:
        if name not in attributes:
            return None
        return self.gltf.accessor(attributes[name], f"{self.where}.{name}", types)

    def _faces(self, primitive: dict, mode: int, count: int) -> np.ndarray:
        if "indices" in primitive:
            indices = self.gltf.accessor(primitive["indices"], f"{self.where}.indices", ("SCALAR",))[:, 0]
            if indices.dtype.kind != "u":
                raise self.gltf.fail(f"{self.where}: indices are no unsigned integers")
            if indices.max() >= count:
                raise self.gltf.fail(f"{self.where}: index {indices.max()} is out of range, there are {count} vertices")
            indices = indices.astype(np.int64)
        else:
            indices = np.arange(count)
        self.gltf.faces += len(indices) // 3 if mode == TRIANGLES else max(0, len(indices) - 2)
        if self.gltf.faces > MAX_FACES:
            raise self.gltf.fail(f"{self.where}: with it there are more than {MAX_FACES} triangles", "simplify it")
        if mode == TRIANGLES:
            if len(indices) % 3:
                raise self.gltf.fail(f"{self.where}: {len(indices)} indices are no whole number of triangles")
            return indices.reshape(-1, 3)
        first = np.arange(max(0, len(indices) - 2))
        if mode == FAN:
            return np.stack([indices[np.zeros_like(first)], indices[first + 1], indices[first + 2]], -1)
        odd = first % 2
        return np.stack([indices[first], indices[first + 1 + odd], indices[first + 2 - odd]], -1)

    def part(self, matrix: np.ndarray, material: Material | None, tint: np.ndarray) -> Part:
        textured = material is not None and material.base_color is not None and self.uvs is not None
        colors = self.colors
        if textured and colors is not None:
            self.gltf.notes.append("vertex colours beside a texture are ignored")
            colors = None
        elif not textured and (colors is not None or (tint < 1).any()):
            linear = np.ones((len(self.positions), 3)) if colors is None else colors[:, :3].astype(np.float64)
            if colors is not None and colors.dtype.kind == "u":
                linear = linear / np.iinfo(colors.dtype).max
            colors = srgb_from_linear(np.clip(linear * tint, 0, 1))
        return Part(self.positions, self.faces, self.normals, self.uvs, self.tangents, colors,
                    material, matrix)


def _material(gltf: Gltf, index) -> tuple[Material | None, np.ndarray]:
    """The material and its base colour factor (linear), already multiplied into the texture where there is one."""
    if index is None:
        return None, np.ones(3)
    where = f"materials[{index}]"
    material = gltf.item("materials", index, where)
    rough = material.get("pbrMetallicRoughness", {})
    if not isinstance(rough, dict):
        raise gltf.fail(f"{where}: 'pbrMetallicRoughness' is no object")
    tint = np.clip(gltf.numbers(rough, "baseColorFactor", [1, 1, 1, 1], where), 0, 1)[:3]
    color = _texture(gltf, rough, "baseColorTexture", where)
    if color is not None and (tint < 1).any():
        gltf.take_texels(color.shape[0] * color.shape[1], where)  # a copy for each material
        color = torch.from_numpy(srgb_from_linear(linear_from_srgb(color.numpy()) * tint)).float()
    factor = lambda key: float(np.clip(gltf.numbers({key: [rough.get(key, 1)]}, key, [1], where), 0, 1)[0])
    return Material(color, _texture(gltf, material, "normalTexture", where), factor("metallicFactor"),
                    factor("roughnessFactor")), np.ones(3) if color is not None else tint


def _texture(gltf: Gltf, parent: dict, key: str, where: str):
    reference = parent.get(key)
    if reference is None:
        return None
    if not isinstance(reference, dict):
        raise gltf.fail(f"{where}: '{key}' is no object")
    extensions = reference.get("extensions", {})
    if not isinstance(extensions, dict):
        raise gltf.fail(f"{where}: the 'extensions' of {key} are no object")
    if reference.get("texCoord", 0) != 0 or "KHR_texture_transform" in extensions:
        gltf.notes.append(f"{key} uses other texture coordinates than TEXCOORD_0; it is ignored")
        return None
    try:
        return gltf.image(reference, f"{where}.{key}").color
    except InputError as error:
        raise InputError(f"{error} (needed by {where}.{key})") from None
