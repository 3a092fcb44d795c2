"""Fewer triangles for the same shape. Letters: V vertices, F faces.

Edges are collapsed in the order of their quadric error (Garland & Heckbert 1997) by fast-simplification. That library
does not look at topology, so that thin sheets may end up sharing edges; they are separated afterwards.
"""
from dataclasses import replace

import numpy as np
import torch

from asset3d.errors import EmptySurface, InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays, drop_invalid_faces, remove_unreferenced, split_non_manifold
from asset3d.scene.mesh_topology import vertex_normals

AGGRESSIVENESS = (3, 4, 5, 6, 7, 9, 11)
"""How fast the error threshold grows. The gentle first pass decides the quality; later ones run only when it stalls."""


def decimate(mesh: Mesh, face_budget: int = 20_000) -> Mesh:
    """A mesh of at most `face_budget` faces, manifold, with fresh normals; colours come from the nearest old vertex.

    Texture coordinates and tangents are dropped: unwrap afterwards. A mesh within the budget keeps its vertices.

    Args:
        mesh: Cleaned (`clean_mesh`), any scale.
        face_budget: At least 4. Shapes of many separate pieces cannot go below 4 faces per piece.

    Raises:
        InputError: the budget is below 4.
        EmptySurface: the mesh has no faces.
    """
    if face_budget < 4:
        raise InputError(f"decimate: face_budget must be at least 4, got {face_budget}")
    vertices, faces = arrays(mesh)
    if not len(faces):
        raise EmptySurface("decimate: the mesh has no faces; was the surface extracted at the right level?")
    center = vertices.min(0) + np.ptp(vertices, axis=0) / 2
    size = float(np.linalg.norm(np.ptp(vertices, axis=0))) or 1.0
    points, triangles = _within_budget((vertices - center) / size, faces, face_budget)
    points = points * size + center
    as_tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(mesh.vertices)
    out = Mesh(as_tensor(points), torch.from_numpy(triangles).to(mesh.faces.device),
               normals=as_tensor(vertex_normals(points, triangles)), material=mesh.material)
    if mesh.colors is not None:
        out = replace(out, colors=mesh.colors[_nearest(vertices, points).to(mesh.colors.device)])
    return remove_unreferenced(out)[0]


def _within_budget(vertices, faces, budget):
    """Collapse, separate, and collapse further if the separation went over the budget."""
    target = min(budget, len(faces))
    for _ in range(8):
        points, triangles = _collapse(vertices, faces, target)
        triangles = drop_invalid_faces(points, triangles)
        points, triangles, _ = split_non_manifold(points, triangles)
        excess = len(triangles) - budget
        if excess <= 0 or target - excess < 4:
            break
        target -= excess
    return points, triangles


def _collapse(vertices, faces, target):
    from fast_simplification import simplify
    for aggressiveness in AGGRESSIVENESS:
        if len(faces) <= target:
            break
        vertices, faces = simplify(vertices, faces.astype(np.int32), target_count=target, agg=aggressiveness)
    return vertices, faces.astype(np.int64)


def _nearest(vertices: np.ndarray, points: np.ndarray) -> torch.Tensor:
    from scipy.spatial import cKDTree
    return torch.from_numpy(cKDTree(vertices).query(points)[1])
