"""The nearest point of a surface, among those that look the same way. Letters: V vertices, F faces, T points."""
import numpy as np

from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays
from asset3d.scene.mesh_topology import face_normals

CANDIDATES = 8
"""Nearest samples of the surface whose triangles are looked at for each point."""
CHUNK = 1 << 16
"""Points at once: bounds the memory."""
SAME_SIDE = 0.2
"""Least cosine between the faces of both surfaces; on a thin wall the far side has -1."""
SAMPLES = 400_000
"""Samples that a surface is covered with, about; small faces have one each."""


class NearestOnSurface:
    """Answers where points lie nearest on a mesh. Triangles of any size: each is covered with samples first."""

    def __init__(self, mesh: Mesh):
        from scipy.spatial import cKDTree
        self.vertices, self.faces = arrays(mesh)
        self.face_normals, area = face_normals(self.vertices, self.faces)
        self.diagonal = float(np.linalg.norm(np.ptp(self.vertices[self.faces].reshape(-1, 3), axis=0)))
        points, self.face_of = self._samples(np.sqrt(area.sum() / SAMPLES))
        self.tree = cKDTree(points)

    def __call__(self, position: np.ndarray, side: np.ndarray, reach: float = np.inf,
                 ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Faces and barycentric weights of the nearest points on faces that look to the same side.

        Args:
            position: (T, 3).
            side: (T, 3) unit normals of the faces that the points belong to.
            reach: Farthest distance, in units of the diagonal of the surface's box.

        Returns:
            (T,) found, (T,) faces, (T, 3) weights; where nothing is found, face 0.
        """
        count = len(position)
        found, face, weights = np.zeros(count, bool), np.zeros(count, np.int64), np.zeros((count, 3))
        for start in range(0, len(position), CHUNK):
            part = slice(start, start + CHUNK)
            found[part], face[part], weights[part] = self._near(position[part], side[part], reach * self.diagonal)
        return found, face, weights

    def at(self, attribute: np.ndarray, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(T, A) values of a vertex attribute (V, A) at points on faces."""
        return np.einsum("tk,tka->ta", weights, attribute[self.faces[face]])

    def _samples(self, spacing: float) -> tuple[np.ndarray, np.ndarray]:
        """Points on the surface, about `spacing` apart, and the face of each; small faces have one."""
        corner = self.vertices[self.faces]
        longest = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=-1).max(1)
        parts = np.clip(np.ceil(longest / (2 * spacing)), 1, 64).astype(np.int64)
        points, face_of = [], []
        for n in np.unique(parts):
            index = np.flatnonzero(parts == n)
            i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
            low = np.stack([i, j], -1)[i + j < n] + 1 / 3
            high = np.stack([i, j], -1)[i + j < n - 1] + 2 / 3
            u, v = np.concatenate([low, high]).T / n
            weights = np.stack([1 - u - v, u, v], -1)
            points.append(np.einsum("sk,fkd->fsd", weights, corner[index]).reshape(-1, 3))
            face_of.append(np.repeat(index, len(weights)))
        return np.concatenate(points), np.concatenate(face_of)

    def _near(self, position, side, reach) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = min(CANDIDATES, self.tree.n)
        _, sample = self.tree.query(position, k=[*range(1, count + 1)])
        best, chosen = np.full(len(position), np.inf), np.zeros(len(position), np.int64)
        weights = np.zeros((len(position), 3))
        for k in range(count):
            face = self.face_of[sample[:, k]]
            w = closest_weights(self.vertices[self.faces[face]], position)
            distance = np.linalg.norm((w[..., None] * self.vertices[self.faces[face]]).sum(1) - position, axis=1)
            ok = ((self.face_normals[face] * side).sum(1) > SAME_SIDE) & (distance < best) & (distance < reach)
            best, chosen = np.where(ok, distance, best), np.where(ok, face, chosen)
            weights = np.where(ok[:, None], w, weights)
        return np.isfinite(best), chosen, weights


def closest_weights(corner: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(T, 3) barycentric weights of the points of triangles (T, 3, 3) that are nearest to points (T, 3)."""
    a, b, c = corner.transpose(1, 0, 2)
    ab, ac, ap = b - a, c - a, point - a
    dot = lambda x, y: (x * y).sum(-1)
    bb, bc, cc, pb, pc = dot(ab, ab), dot(ab, ac), dot(ac, ac), dot(ap, ab), dot(ap, ac)
    area = np.maximum(bb * cc - bc * bc, 1e-300)
    second, third = (cc * pb - bc * pc) / area, (bb * pc - bc * pb) / area
    weights = np.stack([1 - second - third, second, third], -1)
    outside = (weights < 0).any(1)
    best = np.full(len(point), np.inf)
    out = weights.copy()
    for k in range(3):  # the nearest point of an edge
        start, end = corner[:, k], corner[:, (k + 1) % 3]
        t = np.clip(dot(point - start, end - start) / np.maximum(dot(end - start, end - start), 1e-300), 0, 1)
        distance = ((start + t[:, None] * (end - start) - point) ** 2).sum(1)
        edge = np.zeros_like(weights)
        edge[:, k], edge[:, (k + 1) % 3] = 1 - t, t
        nearer = outside & (distance < best)
        out, best = np.where(nearer[:, None], edge, out), np.where(nearer, distance, best)
    return out
