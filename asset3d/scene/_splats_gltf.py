"""Gaussian splats in a glTF file: the extension KHR_gaussian_splatting, release candidate of July 2026.

Rotations are unit quaternions xyzw, scales are linear, opacities are in [0, 1]. Letters: N Gaussians.
"""
import re
from pathlib import Path

import numpy as np

from asset3d.scene._gltf import Gltf
from asset3d.scene._gltf_mesh import uses
from asset3d.scene._untrusted import printable
from asset3d.scene.conventions import similarity
from asset3d.scene.harmonics import TERMS

NAME = "KHR_gaussian_splatting"
POINTS = 0
SRGB, LINEAR = "srgb_rec709_display", "lin_rec709_display"


def _primitives(gltf: Gltf, mesh: dict) -> list[tuple[str, dict, dict]]:
    """Where, the primitive, and its extension, of all that hold splats."""
    found = []
    for index, primitive in enumerate(gltf.objects("primitives", mesh)):
        where = f"primitives[{index}]"
        extensions = primitive.get("extensions", {})
        if isinstance(extensions, dict) and NAME in extensions:
            if not isinstance(extensions[NAME], dict):
                raise gltf.fail(f"{where}: '{NAME}' is no object")
            found.append((where, primitive, extensions[NAME]))
    return found


def has_splats(path: Path) -> bool:
    """Whether any primitive of a glTF file is one of splats."""
    gltf = Gltf(path)
    return any(_primitives(gltf, mesh) for mesh in gltf.objects("meshes"))


def read_splats_gltf(path: Path) -> tuple[list[tuple[dict[str, np.ndarray], np.ndarray]], list[str]]:
    """Arrays as `read_splats_ply` gives them, with a (4, 4) matrix to the world, of every use; and remarks.

    Raises:
        InputError: The file is unsound, or holds no splats of a kind that is known.
    """
    gltf, parts = Gltf(path), []
    for mesh, matrix in uses(gltf):
        for where, primitive, extension in _primitives(gltf, gltf.objects("meshes")[mesh]):
            where = f"meshes[{mesh}].{where}"
            _check_kind(gltf, where, primitive, extension)
            _check_matrix(gltf, where, matrix)
            parts.append((_arrays(gltf, where, primitive), matrix))
    if not parts:
        raise gltf.fail(f"has no splats ({NAME})", "give a file with splats")
    return parts, gltf.notes


def _check_kind(gltf: Gltf, where: str, primitive: dict, extension: dict) -> None:
    if gltf.integer(primitive, "mode", where, 4, high=6) != POINTS:
        raise gltf.fail(f"{where}: splats must be points")
    for key, known in (("kernel", ("ellipse",)), ("colorSpace", (SRGB, LINEAR))):
        if extension.get(key) not in known:
            raise gltf.fail(f"{where}: {NAME}.{key} is {printable(extension.get(key), 40)!r}; "
                            f"{' and '.join(known)} can be read")
    if extension["colorSpace"] == LINEAR:
        gltf.notes.append("colours are blended as linear light, which is not known here; they will look too dark")
    for key, known in (("projection", "perspective"), ("sortingMethod", "cameraDistance")):
        if extension.get(key, known) != known:
            gltf.notes.append(f"{key} {printable(extension[key], 40)!r} is not known; {known} is taken")


def _check_matrix(gltf: Gltf, where: str, matrix: np.ndarray) -> None:
    """Only motions and scales alike in all directions leave Gaussians with their axes."""
    try:
        similarity(matrix[:3, :3])
    except ValueError:
        raise gltf.fail(f"{where}: its node stretches it differently along different axes",
                        "apply its transform") from None


def _arrays(gltf: Gltf, where: str, primitive: dict) -> dict[str, np.ndarray]:
    attributes = primitive.get("attributes")
    if not isinstance(attributes, dict):
        raise gltf.fail(f"{where}: has no attributes")

    def read(name: str, kind: str) -> np.ndarray:
        if name not in attributes:
            raise gltf.fail(f"{where}: has no {name}")
        return gltf.accessor(attributes[name], f"{where}.{name}", (kind,)).astype(np.float32)

    means = read("POSITION", "VEC3")
    quats = read(f"{NAME}:ROTATION", "VEC4")[:, [3, 0, 1, 2]]
    opacities = read(f"{NAME}:OPACITY", "SCALAR")[:, 0]
    highest = _degree(gltf, where, attributes)
    terms = [read(f"{NAME}:SH_DEGREE_{degree}_COEF_{k}", "VEC3") for degree in range(highest + 1)
             for k in range(2 * degree + 1)]
    scales = read(f"{NAME}:SCALE", "VEC3")
    if {len(array) for array in (quats, opacities, scales, *terms)} != {len(means)}:
        raise gltf.fail(f"{where}: its attributes have different counts")
    if (scales < 0).any() or (opacities < 0).any() or (opacities > 1).any():
        raise gltf.fail(f"{where}: scales must be at least 0 and opacities in [0, 1]")
    return {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "harmonics": np.stack(terms, 1)}


def _degree(gltf: Gltf, where: str, attributes: dict) -> int:
    """The degree of the spherical harmonics, each of which must be there as a whole."""
    named = {name for name in attributes if re.fullmatch(f"{NAME}:SH_DEGREE_\\d_COEF_\\d+", name)}
    for degree, terms in enumerate(TERMS):
        if named == {f"{NAME}:SH_DEGREE_{l}_COEF_{k}" for l in range(degree + 1) for k in range(2 * l + 1)}:
            return degree
    raise gltf.fail(f"{where}: has {len(named)} terms of spherical harmonics; degrees 0 to 3 must be whole")
