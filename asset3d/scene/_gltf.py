"""glTF 2.0 files: the container and everything that refers to something, checked before it is used.

Source: Khronos glTF 2.0 specification (registry.khronos.org/glTF), sections 3 (JSON) and 4 (GLB). Every size is
compared with the bytes that are there before memory is taken, every index with the list that it points into, and every
path with the folder of the file.
"""
import base64
import binascii
import json
import math
import struct
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from asset3d.errors import InputError
from asset3d.scene._untrusted import is_name, is_number, printable
from asset3d.scene.conventions import rotation_from_quaternion
from asset3d.scene.image import Picture, decode_image, opened

MAX_BYTES = 512 * 2**20
"""Of a file, and of all buffers of an asset together."""
MAX_JSON_BYTES = 64 * 2**20
MAX_ELEMENTS = 50_000_000
"""Of one accessor."""
MAX_VALUES = 2**28
"""Numbers of all accessors together, counted as often as they are read: twice what the buffers can hold as float32, so
that primitives may share vertices, but not without end."""
MAX_TEXELS = 2**27
"""Of all textures of an asset together: 1.5 GiB of colours."""
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
EXTENSIONS = {"KHR_materials_unlit", "KHR_materials_specular", "KHR_materials_ior", "KHR_materials_emissive_strength",
              "KHR_materials_clearcoat", "KHR_materials_sheen", "KHR_materials_transmission",
              "KHR_materials_volume", "KHR_lights_punctual", "KHR_mesh_quantization",
              "KHR_gaussian_splatting"}
"""Extensions that may be required: they do not change where triangles are, or are read."""


def read_limited(path: Path, limit: int = MAX_BYTES, first: int | None = None) -> bytes:
    """The bytes of a file, or the first so many; InputError when it is missing or larger than the limit."""
    try:
        if path.stat().st_size > limit:
            raise InputError(f"{path}: has {path.stat().st_size / 2**20:.0f} MiB, more than the limit of "
                             f"{limit / 2**20:.0f} MiB; simplify it, or shrink its textures")
        with open(path, "rb") as file:
            return file.read(first)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None


def beside(path: Path, uri: str) -> Path:
    """A file that an asset names, when it lies in the asset's folder or below; InputError otherwise."""
    text = unquote(uri)
    parts = text.replace("\\", "/").split("/")
    target = path.parent / text
    outside = ":" in text or not is_name(text) or text[:1] in ("/", "\\", "~") or ".." in parts
    if outside or not target.resolve().is_relative_to(path.parent.resolve()):
        raise InputError(f"{path}: refers to '{printable(uri)}', which is not in its folder; nothing else is read: "
                         "pack the asset into one .glb")
    return target


class Gltf:
    """A glTF file whose structure was found sound. Reading an accessor checks its data."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.notes: list[str] = []
        self.images: dict[int, Picture] = {}
        self.texels = self.values = self.faces = 0
        self._checked: set[str] = set()
        data = read_limited(self.path)
        self.binary: bytes | None = None
        text = self._chunks(data) if data[:4] == b"glTF" or self.path.suffix.lower() == ".glb" else data
        self.json = self._parse(text)
        self._check_asset()
        self.buffers = self._buffers()
        self._check_views()
        for index in range(len(self.objects("accessors"))):
            self._check_accessor(index)
        self._check_nodes()

    def fail(self, what: str, remedy: str = "export the asset again") -> InputError:
        """The error to raise for a fault of this file."""
        return InputError(f"{self.path}: {what}; {remedy}")

    # ------------------------------------------------------------------------------------------------- container

    def _chunks(self, data: bytes) -> bytes:
        """The JSON chunk of a GLB; keeps the binary one."""
        if len(data) < 12 or data[:4] != b"glTF":
            raise self.fail("is no GLB file (its first bytes are not 'glTF' and a header)")
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2:
            raise self.fail(f"is glTF version {version}", "export it as glTF 2.0")
        if length > len(data):
            raise self.fail(f"is truncated: {len(data)} of {length} bytes")
        if length < 20:
            raise self.fail(f"promises {length} bytes, too few for a chunk")
        if length < len(data):
            self.notes.append(f"{len(data) - length} bytes after the end of the GLB are ignored")
        at, chunks = 12, []
        while at < length:
            if at + 8 > length:
                raise self.fail("ends within the header of a chunk")
            size, kind = struct.unpack_from("<I4s", data, at)
            if size % 4:
                raise self.fail(f"has a chunk of {size} bytes, which is no multiple of 4")
            if at + 8 + size > length:
                raise self.fail(f"has a chunk of {size} bytes where {length - at - 8} are left")
            chunks.append((kind, data[at + 8:at + 8 + size]))
            at += 8 + size
        if not chunks or chunks[0][0] != b"JSON":
            raise self.fail("does not begin with a JSON chunk")
        if len(chunks) > 1 and chunks[1][0] == b"BIN\0":
            self.binary = chunks[1][1]
        return chunks[0][1]

    def _parse(self, text: bytes) -> dict:
        if len(text) > MAX_JSON_BYTES:
            raise self.fail(f"has {len(text) >> 20} MiB of JSON, more than {MAX_JSON_BYTES >> 20}")
        try:
            document = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self.fail(f"is not valid JSON ({error})") from None
        if not isinstance(document, dict):
            raise self.fail("has JSON that is no object")
        return document

    def _check_asset(self) -> None:
        version = self._dict(self.json.get("asset"), "asset").get("version")
        if not isinstance(version, str) or not version.startswith("2."):
            raise self.fail(f"is glTF version {printable(version)}", "export it as glTF 2.0")
        required = self.json.get("extensionsRequired", [])
        if not isinstance(required, list):
            raise self.fail("'extensionsRequired' is no list")
        missing = [printable(e) for e in required if not isinstance(e, str) or e not in EXTENSIONS]
        if missing:
            raise self.fail(f"needs the extension {', '.join(missing)}, which is not supported",
                            "export the asset without it")

    # ----------------------------------------------------------------------------------------------- JSON helpers

    def objects(self, key: str, parent: dict | None = None) -> list[dict]:
        """A list of objects of the file, empty when missing."""
        if parent is None and key in self._checked:
            return self.json.get(key, [])
        value = (self.json if parent is None else parent).get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fail(f"'{key}' is no list of objects")
        if parent is None:
            self._checked.add(key)
        return value

    def _dict(self, value, where: str) -> dict:
        if not isinstance(value, dict):
            raise self.fail(f"'{where}' is missing or no object")
        return value

    def integer(self, parent: dict, key: str, where: str, default: int | None = None, low: int = 0,
                high: int = 2**40) -> int:
        """A whole number of the file, in a range."""
        value = parent.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(f"{where}: '{key}' must be a whole number of at least {low}, got {printable(value, 40)}")
        return value

    def item(self, key: str, index, where: str) -> dict:
        """The object of a list that an index points to."""
        items = self.objects(key)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(items):
            raise self.fail(f"{where}: refers to {key}[{printable(index, 40)}], but there are {len(items)}")
        return items[index]

    # ------------------------------------------------------------------------------------------ buffers, accessors

    def _buffers(self) -> list[bytes]:
        out, total = [], 0
        for index, buffer in enumerate(self.objects("buffers")):
            where = f"buffers[{index}]"
            length = self.integer(buffer, "byteLength", where, low=1)
            total += length
            if total > MAX_BYTES:
                raise self.fail(f"{where}: the buffers have more than {MAX_BYTES >> 20} MiB", "simplify the asset")
            out.append(self._buffer(buffer, index, length, where))
            if len(out[-1]) < length:
                raise self.fail(f"{where}: {length} bytes are promised, {len(out[-1])} are there")
        return out

    def _buffer(self, buffer: dict, index: int, length: int, where: str) -> bytes:
        uri = buffer.get("uri")
        if uri is None:
            if index or self.binary is None:
                raise self.fail(f"{where}: has neither a uri nor a binary chunk")
            return self.binary
        return self.resource(uri, where, MAX_BYTES, length)

    def resource(self, uri, where: str, limit: int, first: int | None = None) -> bytes:
        """The bytes of a data: URI or of a file in the asset's folder, or the first so many of them."""
        if not isinstance(uri, str):
            raise self.fail(f"{where}: 'uri' is no text")
        if uri[:5].lower() != "data:":
            return read_limited(beside(self.path, uri), limit, first)
        header, comma, payload = uri.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise self.fail(f"{where}: the data URI is not base64")
        try:
            return base64.b64decode(payload, validate=True)[:first]
        except (binascii.Error, ValueError):
            raise self.fail(f"{where}: the data URI is damaged") from None

    def _check_views(self) -> None:
        for index, view in enumerate(self.objects("bufferViews")):
            where = f"bufferViews[{index}]"
            self.item("buffers", view.get("buffer"), where)
            start = self.integer(view, "byteOffset", where, 0)
            length = self.integer(view, "byteLength", where, low=1)
            there = self.objects("buffers")[view["buffer"]]["byteLength"]
            if start + length > there:
                raise self.fail(f"{where}: ends at byte {start + length} of a buffer of {there}")
            if "byteStride" in view and self.integer(view, "byteStride", where, low=4, high=252) % 4:
                raise self.fail(f"{where}: 'byteStride' {view['byteStride']} is no multiple of 4")

    def view(self, index, where: str) -> memoryview:
        """The bytes of a buffer view, not copied: every accessor of a file may point into the same large one."""
        view = self.item("bufferViews", index, where)
        start = view.get("byteOffset", 0)
        return memoryview(self.buffers[view["buffer"]])[start:start + view["byteLength"]]

    def _check_accessor(self, index: int) -> None:
        accessor, where = self.objects("accessors")[index], f"accessors[{index}]"
        component, kind = accessor.get("componentType"), accessor.get("type")
        if not isinstance(component, int) or component not in COMPONENTS or not isinstance(kind, str) \
                or kind not in WIDTHS:
            raise self.fail(f"{where}: unknown componentType {printable(component, 20)} or type {printable(kind, 20)}")
        count = self.integer(accessor, "count", where, low=1)
        if count > MAX_ELEMENTS:
            raise self.fail(f"{where}: {count} elements are more than the limit of {MAX_ELEMENTS}",
                            "simplify the asset")
        if "bufferView" in accessor:
            self._span(accessor, count, accessor["componentType"], WIDTHS[accessor["type"]], where)
        if "sparse" in accessor:
            sparse = self._dict(accessor["sparse"], f"{where}.sparse")
            changed = self.integer(sparse, "count", f"{where}.sparse", low=1, high=count)
            indices = self._dict(sparse.get("indices"), f"{where}.sparse.indices")
            values = self._dict(sparse.get("values"), f"{where}.sparse.values")
            if indices.get("componentType") not in (5121, 5123, 5125):
                raise self.fail(f"{where}.sparse.indices: componentType must be an unsigned one")
            self._span(indices, changed, indices["componentType"], 1, f"{where}.sparse.indices")
            self._span(values, changed, accessor["componentType"], WIDTHS[accessor["type"]], f"{where}.sparse.values")

    def _span(self, part: dict, count: int, component: int, width: int, where: str) -> tuple[int, int]:
        """Offset and stride in bytes of elements in a buffer view that holds them all."""
        view = self.item("bufferViews", part.get("bufferView"), where)
        size = np.dtype(COMPONENTS[component]).itemsize
        stride = view.get("byteStride", size * width)
        offset = self.integer(part, "byteOffset", where, 0)
        if offset % size or (view.get("byteOffset", 0) + offset) % size or stride % size:
            raise self.fail(f"{where}: is not aligned to its components of {size} bytes")
        if stride < size * width or offset + stride * (count - 1) + size * width > view["byteLength"]:
            raise self.fail(f"{where}: {count} elements do not fit into bufferViews[{part['bufferView']}] of "
                            f"{view['byteLength']} bytes")
        return offset, stride

    def _elements(self, part: dict, count: int, component: int, width: int, where: str) -> np.ndarray:
        offset, stride = self._span(part, count, component, width, where)
        kind = np.dtype(COMPONENTS[component])
        data = self.view(part["bufferView"], where)
        return np.ndarray((count, width), kind, data, offset, (stride, kind.itemsize))

    def accessor(self, index, where: str, types: tuple[str, ...]) -> np.ndarray:
        """(count, width) values; normalised integers as float32, sparse changes applied, all finite."""
        accessor = self.item("accessors", index, where)
        if accessor["type"] not in types:
            raise self.fail(f"{where}: accessors[{index}] is {accessor['type']}, not {' or '.join(types)}")
        count, component, width = accessor["count"], accessor["componentType"], WIDTHS[accessor["type"]]
        where = f"accessors[{index}]"
        self.values += count * width
        if self.values > MAX_VALUES:
            raise self.fail(f"{where}: the accessors that are used have more than {MAX_VALUES >> 20} million numbers, "
                            "counted as often as they are used", "simplify the asset")
        if "bufferView" in accessor:
            values = self._elements(accessor, count, component, width, where)
        else:
            values = np.zeros((count, width), COMPONENTS[component])
        if "sparse" in accessor:
            values = values.copy()
            sparse = accessor["sparse"]
            rows = self._elements(sparse["indices"], sparse["count"], sparse["indices"]["componentType"], 1,
                                  f"{where}.sparse.indices")[:, 0].astype(np.int64)
            if rows.max() >= count or (np.diff(rows) <= 0).any():
                raise self.fail(f"{where}.sparse: indices must rise and stay below {count}")
            values[rows] = self._elements(sparse["values"], sparse["count"], component, width, f"{where}.sparse.values")
        if accessor.get("normalized") is True and component != 5126:
            values = np.maximum(values.astype(np.float32) / np.iinfo(values.dtype).max, -1)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise self.fail(f"{where}: has values that are not finite")
        return values

    # ------------------------------------------------------------------------------------------------------- nodes

    def _check_nodes(self) -> None:
        """Every node has one parent at most and none is its own ancestor."""
        nodes = self.objects("nodes")
        parent: dict[int, int] = {}
        for index, node in enumerate(nodes):
            children = node.get("children", [])
            if not isinstance(children, list):
                raise self.fail(f"nodes[{index}]: 'children' is no list")
            for child in children:
                self.item("nodes", child, f"nodes[{index}].children")
                if child in parent:
                    raise self.fail(f"nodes[{child}] has two parents, {parent[child]} and {index}")
                parent[child] = index
            if "mesh" in node:
                self.item("meshes", node["mesh"], f"nodes[{index}]")
        sound: set[int] = set()
        for start in range(len(nodes)):
            path = [start]
            while path[-1] in parent and path[-1] not in sound:
                path.append(parent[path[-1]])
                if len(path) > len(nodes):
                    raise self.fail(f"nodes[{start}] is part of a cycle")
            sound.update(path)

    def local_matrix(self, index: int) -> np.ndarray:
        """(4, 4) transform of a node relative to its parent."""
        node, where = self.objects("nodes")[index], f"nodes[{index}]"
        if "matrix" in node:
            return self._numbers(node["matrix"], 16, f"{where}.matrix").reshape(4, 4).T
        x, y, z, w = self._numbers(node.get("rotation", [0, 0, 0, 1]), 4, f"{where}.rotation")
        length = math.sqrt(x * x + y * y + z * z + w * w)
        if length < 1e-6:
            raise self.fail(f"{where}: 'rotation' is no quaternion")
        out = np.eye(4)
        out[:3, :3] = rotation_from_quaternion(np.array([w, x, y, z])) * self._numbers(node.get("scale", [1, 1, 1]), 3,
                                                                                      f"{where}.scale")
        out[:3, 3] = self._numbers(node.get("translation", [0, 0, 0]), 3, f"{where}.translation")
        return out

    def _numbers(self, values, count: int, where: str) -> np.ndarray:
        if not isinstance(values, list) or len(values) != count or not all(map(is_number, values)):
            raise self.fail(f"{where}: {count} finite numbers expected, got {printable(values, 60)}")
        return np.array(values, dtype=np.float64)

    def numbers(self, parent: dict, key: str, default: list[float], where: str) -> np.ndarray:
        """Numbers of the file, as many as the default has."""
        return self._numbers(parent.get(key, default), len(default), f"{where}.{key}")

    def image(self, texture: dict, where: str) -> Picture:
        """The decoded image that a texture reference of a material names."""
        source = self.item("textures", texture.get("index"), where).get("source")
        image = self.item("images", source, where)
        where = f"images[{source}]"
        if source not in self.images:
            data = bytes(self.view(image["bufferView"], where)) if "bufferView" in image else self.resource(
                image.get("uri"), where, MAX_BYTES)
            name = f"{self.path}: {where}"
            with opened(name, data) as header:
                self.take_texels(header.width * header.height, where)
            self.images[source] = decode_image(data, name)
        return self.images[source]

    def take_texels(self, count: int, where: str) -> None:
        """Refuse the asset when its textures, with so many texels more, are too large together."""
        self.texels += count
        if self.texels > MAX_TEXELS:
            raise self.fail(f"{where}: the textures have more than {MAX_TEXELS >> 20} megapixels", "shrink them")
