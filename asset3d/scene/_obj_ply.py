"""OBJ and PLY files: their structure is checked here, then trimesh reads them."""
import io
import math
import re
from pathlib import Path

import numpy as np
import torch

from asset3d.errors import InputError
from asset3d.scene._gltf import beside, read_limited
from asset3d.scene._mesh_parts import MAX_FACES, MAX_VERTICES, Part
from asset3d.scene.image import SUFFIXES, encode_png, load_image
from asset3d.scene.material import Material

PLY_TYPES = {"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2, "int": 4,
             "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8}
MAX_HEADER = 65_536


def read_obj(path: Path) -> tuple[list[Part], list[str]]:
    """The parts of an OBJ with its MTL and textures, and remarks; InputError when the file is unsound."""
    data = read_limited(path)
    notes = _check_obj(path, data)
    return _through_trimesh(path, data, "obj", notes)


def read_ply(path: Path) -> tuple[list[Part], list[str]]:
    """The part of a PLY, and remarks; InputError when the file is unsound."""
    data = read_limited(path)
    _check_ply(path, data)
    return _through_trimesh(path, data, "ply", [])


# ----------------------------------------------------------------------------------------------------------------- OBJ


def _check_obj(path: Path, data: bytes) -> list[str]:
    """Numbers are numbers, indices have something to point to; returns remarks."""
    if b"\0" in data[:4096]:
        raise InputError(f"{path}: is a binary file, not an OBJ; export it again")
    counts, used, corners, notes = {"v": 0, "vt": 0, "vn": 0}, {"v": 0, "vt": 0, "vn": 0}, 0, set()
    for line, text in enumerate(data.split(b"\n"), 1):
        key, _, rest = text.strip().partition(b" ")
        name = key.decode("latin-1")
        if name in counts:
            counts[name] += 1
            _check_obj_numbers(path, line, name, rest.split(), notes)
        elif name == "f":
            words = rest.split()
            if len(words) < 3:
                raise InputError(f"{path}:{line}: a face has {len(words)} corners; export the mesh again")
            corners += len(words) - 2
            for word in words:
                _check_obj_corner(path, line, word, counts, used)
    for name in used:
        if used[name] > counts[name]:
            raise InputError(f"{path}: a face refers to '{name}' {used[name]}, but there are {counts[name]}; "
                             "export the mesh again")
    if counts["v"] > MAX_VERTICES or corners > MAX_FACES:
        raise InputError(f"{path}: {counts['v']} vertices and {corners} triangles are more than the limits of "
                         f"{MAX_VERTICES} and {MAX_FACES}; simplify it")
    if not counts["v"] or not corners:
        raise InputError(f"{path}: has {counts['v']} vertices and {corners} faces; give a mesh with triangles")
    return sorted(notes)


def _check_obj_numbers(path: Path, line: int, name: str, words: list[bytes], notes: set[str]) -> None:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise InputError(f"{path}:{line}: '{name}' needs numbers, got {b' '.join(words)[:60]!r}; "
                         "export the mesh again") from None
    needed = {"v": 3, "vn": 3, "vt": 1}[name]
    if len(values) < needed or not all(map(math.isfinite, values[:3])):
        raise InputError(f"{path}:{line}: '{name}' needs {needed} finite numbers, got {b' '.join(words)[:60]!r}; "
                         "export the mesh again")
    if not all(map(math.isfinite, values[3:])):
        notes.add("some vertex colours are not finite; all are ignored")


def _check_obj_corner(path: Path, line: int, word: bytes, counts: dict, used: dict) -> None:
    for name, part in zip(("v", "vt", "vn"), word.split(b"/")):
        if not part and name != "v":
            continue
        try:
            index = int(part)
        except ValueError:
            raise InputError(f"{path}:{line}: {word[:40]!r} is no corner of a face; export the mesh again") from None
        if index == 0 or -index > counts[name]:
            raise InputError(f"{path}:{line}: index {index} of '{name}' is out of range, there are {counts[name]} so "
                             "far; export the mesh again")
        used[name] = max(used[name], index)


# ----------------------------------------------------------------------------------------------------------------- PLY


def _check_ply(path: Path, data: bytes) -> None:
    """The header is sound, has triangles, and promises no more than the file holds."""
    fail = lambda what: InputError(f"{path}: {what}; export the mesh again")
    kind, elements, start = ply_header(path, data)
    _check_ply_elements(fail, elements, kind, data[start:])


def ply_header(path: Path, data: bytes) -> tuple[str, list[tuple[str, int, list[list[str]]]], int]:
    """Format, elements as (name, count, properties), and where the header's last line begins.

    Raises:
        InputError: There is no header, or a line of it is none of PLY's.
    """
    fail = lambda what: InputError(f"{path}: {what}; export it again")
    end = data.find(b"end_header", 0, MAX_HEADER)
    if not re.match(rb"ply\r?\n", data) or end < 0:
        raise fail("has no PLY header")
    lines = [line.split() for line in data[:end].decode("latin-1").splitlines()[1:]]
    kind, elements = None, []
    for words in lines:
        if words[:1] == ["format"] and len(words) == 3:
            kind = words[1]
        elif words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdigit() or len(words[2]) > 12:
                raise fail(f"has the unreadable header line '{' '.join(words)[:60]}'")
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            valid = len(words) == 3 and words[1] in PLY_TYPES or (
                len(words) == 5 and words[1] == "list" and words[2] in PLY_TYPES and words[3] in PLY_TYPES)
            if not valid or not elements:
                raise fail(f"has the unreadable header line '{' '.join(words)[:60]!r}'")
            elements[-1][2].append(words[1:])
        elif words[:1] not in (["comment"], ["obj_info"], []):
            raise fail(f"has the unknown header line '{' '.join(words)[:60]!r}'")
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise fail(f"has the unknown format {kind!r}")
    return kind, elements, end


def _check_ply_elements(fail, elements: list, kind: str, body: bytes) -> None:
    by_name = {name: (count, properties) for name, count, properties in elements}
    vertices, properties = by_name.get("vertex", (0, []))
    if not vertices or not {"x", "y", "z"} <= {p[-1] for p in properties}:
        raise fail("has no vertices with x, y and z")
    faces, face_properties = by_name.get("face", (0, []))
    if not faces or not any(p[0] == "list" and p[-1] in ("vertex_indices", "vertex_index") for p in face_properties):
        splats = {"f_dc_0", "opacity"} <= {p[-1] for p in properties}
        raise fail("holds Gaussian splats, which are no mesh" if splats else "has points but no faces")
    if any(p[0] == "list" for p in properties):
        raise fail("has a list among the properties of a vertex")
    if vertices > MAX_VERTICES or faces > MAX_FACES:
        raise fail(f"promises {vertices} vertices and {faces} faces, more than the limits")
    for name, count, properties in elements:
        size = sum(PLY_TYPES[p[1]] if p[0] == "list" else PLY_TYPES[p[0]] for p in properties)
        least = 2 * len(properties) if kind == "ascii" else size
        if count * least > len(body):
            raise fail(f"promises {count} of '{name}' in a file of {len(body)} bytes")


# ------------------------------------------------------------------------------------------------------------- trimesh


def _through_trimesh(path: Path, data: bytes, kind: str, notes: list[str]) -> tuple[list[Part], list[str]]:
    import trimesh
    resolver = _resolver(path, notes)
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, resolver=resolver, process=False)
        geometries = [g for g in scene.dump() if isinstance(g, trimesh.Trimesh)]
    except Exception as error:  # trimesh raises whatever its arrays raise on damaged files
        text = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise resolver.refused or InputError(f"{path}: damaged mesh ({text}); export it again") from None
    if resolver.refused:
        raise resolver.refused
    parts = [_part(path, g, resolver.textures > 0, notes) for g in geometries]
    return [part for part in parts if len(part.faces)], notes


def _resolver(path: Path, notes: list[str]):
    """Finds the files that a mesh names, in its own folder only; images are checked and re-encoded."""
    from trimesh.resolvers import Resolver

    class Beside(Resolver):
        def __init__(self):
            self.textures = 0
            self.refused: InputError | None = None

        def get(self, name: str) -> bytes:
            try:
                return self._get(name)
            except InputError as error:  # trimesh passes over whatever happens here; it is raised after it is done
                self.refused = self.refused or error
                raise

        def _get(self, name: str) -> bytes:
            target = beside(path, str(name).strip())
            if not target.is_file():
                notes.append(f"'{str(name)[:60]}' is missing; the mesh is read without it")
                raise FileNotFoundError(name)
            if target.suffix.lower() in SUFFIXES:
                color = load_image(target).color
                self.textures += 1
                return encode_png(color)
            if target.suffix.lower() != ".mtl":
                notes.append(f"'{str(name)[:60]}' is no PNG, JPEG, WebP or MTL file; the mesh is read without it")
                raise FileNotFoundError(name)
            return read_limited(target, 16 * 2**20)

        def keys(self):
            return []

        def namespaced(self, namespace):
            return self

        def write(self, name, data):
            raise PermissionError(name)

    return Beside()


def _part(path: Path, geometry, textured: bool, notes: list[str]) -> Part:
    vertices, faces = np.asarray(geometry.vertices, np.float64), np.asarray(geometry.faces, np.int64)
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise InputError(f"{path}: a face refers to vertex {faces.max()}, but there are {len(vertices)}; "
                         "export the mesh again")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path}: has vertices that are not finite; export the mesh again")
    normals = geometry._cache.cache.get("vertex_normals")
    part = Part(vertices, faces, None if normals is None else np.asarray(normals))
    visual = geometry.visual
    if visual.kind == "texture" and visual.uv is not None and len(visual.uv) == len(vertices):
        part.uvs = np.asarray(visual.uv, np.float64) * (1, -1) + (0, 1)
        part.material = _material(visual.material, textured)
        if part.material.base_color is None and getattr(visual.material, "diffuse", None) is not None:
            part.colors = np.tile(np.asarray(visual.material.diffuse[:3]) / 255, (len(vertices), 1))
    elif visual.kind == "vertex" and not any("colours" in note for note in notes):
        part.colors = np.asarray(visual.vertex_colors[:, :3], np.float64) / 255
    return part


def _material(material, textured: bool) -> Material:
    """Without a texture of its own, trimesh gives a material a made-up one; it is left out."""
    image = (getattr(material, "baseColorTexture", None) or getattr(material, "image", None)) if textured else None
    if image is None:
        return Material()
    return Material(torch.from_numpy(np.asarray(image.convert("RGB"), np.float32) / 255))
