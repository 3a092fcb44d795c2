"""Gaussian splats in a PLY, as Inria's code and gsplat write them: log scales, logit opacities, quaternions wxyz.

Higher terms of the spherical harmonics lie by colour: all of red, then of green, then of blue. Letters: N Gaussians.
"""
import re
from pathlib import Path

import numpy as np

from asset3d.errors import InputError
from asset3d.scene._mesh_parts import MAX_VERTICES
from asset3d.scene._obj_ply import ply_header
from asset3d.scene.harmonics import TERMS

NUMPY = {"char": "i1", "uchar": "u1", "int8": "i1", "uint8": "u1", "short": "i2", "ushort": "u2", "int16": "i2",
         "uint16": "u2", "int": "i4", "uint": "u4", "int32": "i4", "uint32": "u4", "float": "f4", "float32": "f4",
         "double": "f8", "float64": "f8"}
NEEDED = ("x", "y", "z", "opacity", *(f"f_dc_{k}" for k in range(3)), *(f"scale_{k}" for k in range(3)),
          *(f"rot_{k}" for k in range(4)))


def is_splats_ply(path: Path, data: bytes) -> bool:
    """Whether the header of a PLY names what splats have."""
    _, elements, _ = ply_header(path, data)
    names = {p[-1] for name, _, properties in elements if name == "vertex" for p in properties}
    return {"f_dc_0", "opacity"} <= names


def read_splats_ply(path: Path, data: bytes) -> tuple[dict[str, np.ndarray], list[str]]:
    """Means (N, 3), quats (N, 4), scales (N, 3), opacities (N,) and harmonics (N, K, 3), and remarks.

    Raises:
        InputError: A property is missing, or the file ends before its Gaussians do.
    """
    kind, elements, end = ply_header(path, data)
    fail = lambda what: InputError(f"{path}: {what}; export the splats again")
    if not elements or elements[0][0] != "vertex":
        raise fail("does not begin with the element 'vertex'")
    _, count, properties = elements[0]
    names = [p[-1] for p in properties]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise fail(f"has no '{missing[0]}'")
    if any(p[0] == "list" for p in properties) or len(set(names)) != len(names):
        raise fail("has a list, or a name twice, among the properties of its Gaussians")
    if not 0 < count <= MAX_VERTICES:
        raise fail(f"promises {count} Gaussians; 1 to {MAX_VERTICES} can be read")
    body = data[end:].split(b"\n", 1)[1] if b"\n" in data[end:end + 16] else b""
    table = (_ascii if kind == "ascii" else _binary)(fail, body, count, properties, kind)
    stack = lambda *columns: np.stack([np.asarray(table[name], np.float32) for name in columns], -1)
    with np.errstate(over="ignore"):
        arrays = {"means": stack("x", "y", "z"), "scales": np.exp(stack("scale_0", "scale_1", "scale_2")),
                  "quats": stack("rot_0", "rot_1", "rot_2", "rot_3"),
                  "opacities": 1 / (1 + np.exp(-np.asarray(table["opacity"], np.float64)))}
    return arrays | {"harmonics": _harmonics(fail, names, stack)}, []


def _harmonics(fail, names: list[str], stack) -> np.ndarray:
    constant = stack("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    rest = sum(bool(re.fullmatch(r"f_rest_\d+", name)) for name in names)
    if rest % 3 or 1 + rest // 3 not in TERMS or any(f"f_rest_{k}" not in names for k in range(rest)):
        raise fail(f"has {rest} properties 'f_rest_…'; 0, 9, 24 or 45, numbered from 0, are needed")
    if not rest:
        return constant
    higher = stack(*(f"f_rest_{k}" for k in range(rest))).reshape(len(constant), 3, rest // 3)
    return np.concatenate([constant, higher.transpose(0, 2, 1)], 1)


def _binary(fail, body: bytes, count: int, properties: list, kind: str) -> np.ndarray:
    order = "<" if kind == "binary_little_endian" else ">"
    row = np.dtype([(name, order + NUMPY[type_]) for type_, name in properties])
    if count * row.itemsize > len(body):
        raise fail(f"promises {count} Gaussians of {row.itemsize} bytes, but {len(body)} bytes are there")
    return np.frombuffer(body, row, count)


def _ascii(fail, body: bytes, count: int, properties: list, kind: str) -> dict[str, np.ndarray]:
    words = body.split(maxsplit=count * len(properties))[:count * len(properties)] if len(body) > count else []
    if len(words) < count * len(properties):
        raise fail(f"promises {count} Gaussians, but ends before")
    try:
        values = np.array(words, dtype=np.float64).reshape(count, -1)
    except ValueError:
        raise fail("has something that is no number among its Gaussians") from None
    return {name: values[:, k] for k, (_, name) in enumerate(properties)}
