"""Charts by projection along the six axes: coarse, but in linear time for any mesh. Letters: V vertices, F faces."""
import numpy as np

from asset3d.scene.charts import Charts, cut, overlaps
from asset3d.scene.mesh_topology import connected, edge_table, face_normals

STEEPEST = 0.2
"""Least cosine between a face and the axis it is projected along: stretch of at most 5."""


def axis_charts(vertices: np.ndarray, faces: np.ndarray) -> Charts:
    """Cut a surface into pieces that look one way, and flatten each along its axis.

    A piece that lies over itself along its axis (a spiral stair) is halved by depth until it hardly does.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
    """
    normals, area = face_normals(vertices, faces)
    neighbours = edge_table(faces).pairs() // 3
    axis = _axes(normals, area, neighbours)
    flat = np.einsum("fij,fkj->fki", _frames()[axis], vertices[faces])
    label = _halved_by_depth(flat, faces, axis, neighbours)
    return cut(faces, flat[..., :2], label)


def _frames() -> np.ndarray:
    """(6, 3, 3) right (u), down (v) and toward the viewer, for +x -x +y -y +z -z."""
    out = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            toward, up = np.eye(3)[axis] * sign, np.eye(3)[2 if axis == 1 else 1]
            out.append([np.cross(up, toward), -up, toward])
    return np.array(out)


def _axes(normals: np.ndarray, area: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(F,) axis of each face: the nearest to its smoothed normal, unless the face is too steep there."""
    smooth = normals * area[:, None]
    for _ in range(4):
        spread = smooth.copy()
        for a, b in (pairs.T, pairs.T[::-1]):
            for k in range(3):
                spread[:, k] += np.bincount(a, smooth[b, k], len(normals))
        smooth = spread
    toward = _frames()[:, 2]
    axis = (smooth @ toward.T).argmax(1)
    steep = (normals * toward[axis]).sum(1) < STEEPEST
    axis[steep] = (normals[steep] @ toward.T).argmax(1)
    return axis


def _halved_by_depth(flat: np.ndarray, faces: np.ndarray, axis: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """(F,) chart of each face; connected and of one axis."""
    depth, group = flat[..., 2].mean(1), axis.astype(np.int64)
    for _ in range(6):
        label = connected(len(flat), neighbours[group[neighbours[:, 0]] == group[neighbours[:, 1]]])
        _, second = overlaps(flat[..., :2], faces, label)
        bad = np.isin(label, label[second])
        if not bad.any():
            break
        low, high = (np.full(label.max() + 1, fill) for fill in (np.inf, -np.inf))
        np.minimum.at(low, label, depth)
        np.maximum.at(high, label, depth)
        group = 2 * label + (bad & (depth > (low + high)[label] / 2))
    return label
