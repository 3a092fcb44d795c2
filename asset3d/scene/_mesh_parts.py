"""What a mesh file holds, before it becomes a `Mesh`: plain arrays, one part per material and use."""
from dataclasses import dataclass

import numpy as np

from asset3d.scene.material import Material

MAX_FACES = 20_000_000
"""Triangles of an asset, counted as often as its nodes use them."""
MAX_VERTICES = 60_000_000


@dataclass
class Part:
    """Triangles with one material. Letters: V vertices, F faces."""

    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3) int64."""
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    """(V, 2), v = 0 is the top row."""
    tangents: np.ndarray | None = None
    colors: np.ndarray | None = None
    """(V, 3) sRGB in [0, 1]."""
    material: Material | None = None
    matrix: np.ndarray | None = None
    """(4, 4) to the world of the asset, None for the identity."""
