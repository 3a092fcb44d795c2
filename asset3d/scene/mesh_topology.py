"""Who is next to whom in a triangle mesh, on numpy arrays. Letters: V vertices, F faces, E edges, H = 3F half-edges.

Half-edge 3f + k runs from corner k of face f to its corner k + 1; corner 3f + k is the one it starts from.
"""
from dataclasses import dataclass

import numpy as np


def half_edges(faces: np.ndarray) -> np.ndarray:
    """(H, 2) start and end vertex of every half-edge of faces (F, 3)."""
    return np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)


@dataclass(frozen=True)
class EdgeTable:
    """The undirected edges of a mesh and the half-edges on each."""

    edges: np.ndarray
    """(E, 2) vertices, smaller first, sorted."""
    edge_of: np.ndarray
    """(H,) edge of each half-edge."""
    count: np.ndarray
    """(E,) half-edges on each edge: 1 border, 2 inside, more non-manifold."""
    order: np.ndarray
    """(H,) half-edges sorted by edge, then by index."""
    first: np.ndarray
    """(E + 1,) where each edge starts in `order`."""

    def pairs(self) -> np.ndarray:
        """(P, 2) the two half-edges of every edge that has exactly two."""
        start = self.first[:-1][self.count == 2]
        return np.stack([self.order[start], self.order[start + 1]], -1)


def edge_table(faces: np.ndarray) -> EdgeTable:
    ends = np.sort(half_edges(faces), axis=1).astype(np.int64)
    size = int(faces.max()) + 1 if len(faces) else 1
    keys, edge_of, count = np.unique(ends[:, 0] * size + ends[:, 1], return_inverse=True, return_counts=True)
    edges = np.stack([keys // size, keys % size], -1)
    order = np.argsort(edge_of, kind="stable")
    return EdgeTable(edges, edge_of, count, order, np.concatenate([[0], np.cumsum(count)]))


def connected(n: int, links: np.ndarray) -> np.ndarray:
    """(n,) component of each of n nodes joined by links (L, 2); numbered by the smallest node in each."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    graph = coo_matrix((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def face_components(faces: np.ndarray, n_vertices: int) -> np.ndarray:
    """(F,) component of each face; faces that share a vertex belong together."""
    links = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    labels = connected(n_vertices, links)[faces[:, 0]]
    return np.unique(labels, return_inverse=True)[1]


def corner_fans(faces: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(H,) the fan of each corner: corners at one vertex that can be reached across the paired half-edges.

    Args:
        faces: (F, 3).
        pairs: (P, 2) half-edges on the same edge that count as neighbours.
    """
    starts = faces.reshape(-1)
    following = np.arange(len(starts)).reshape(-1, 3)[:, [1, 2, 0]].reshape(-1)
    a, b = pairs[:, 0], pairs[:, 1]
    opposite = starts[a] == starts[following[b]]
    links = np.concatenate([
        np.stack([a, np.where(opposite, following[b], b)], -1),
        np.stack([following[a], np.where(opposite, b, following[b])], -1)])
    return connected(len(starts), links)


def split_vertices(faces: np.ndarray, labels: np.ndarray, n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Give every vertex one copy for each label of its corners.

    Args:
        faces: (F, 3).
        labels: (F, 3) label of each corner; equal labels at different vertices mean nothing.
        n_vertices: V.

    Returns:
        Faces (F, 3), and (V',) the old vertex of each new one. Old vertices come first and keep their numbers.
    """
    keys = faces.reshape(-1) * (int(labels.max(initial=0)) + 1) + labels.reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    owner = faces.reshape(-1)[first]  # sorted by vertex
    extra = np.concatenate([[False], owner[1:] == owner[:-1]])[:len(owner)]
    number = np.where(extra, n_vertices + np.cumsum(extra) - 1, owner)
    return number[inverse].reshape(-1, 3), np.concatenate([np.arange(n_vertices), owner[extra]])


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (F, 3), zero where a face has no area, and areas (F,)."""
    corner = vertices[faces]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return cross / np.maximum(length, 1e-300)[:, None], length / 2


def corner_angles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) angle of each face at each of its corners, radians."""
    corner = vertices[faces]
    ahead = np.roll(corner, -1, axis=1) - corner
    behind = np.roll(corner, 1, axis=1) - corner
    sine = np.linalg.norm(np.cross(ahead, behind), axis=-1)
    return np.arctan2(sine, (ahead * behind).sum(-1))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals, faces weighted by their angle at the vertex (Thürmer & Wüthrich 1998)."""
    normals, _ = face_normals(vertices, faces)
    weighted = (normals[:, None] * corner_angles(vertices, faces)[..., None]).reshape(-1, 3)
    corner = faces.reshape(-1)
    out = np.stack([np.bincount(corner, weighted[:, k], len(vertices)) for k in range(3)], -1)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-12, out / np.maximum(length, 1e-12), [0.0, 1.0, 0.0])


def smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) `vertex_normals` that do not see texture seams: vertices at one place get one normal.

    Where two sheets touch back to back their mean would be nothing; there each keeps its own.
    """
    places, index = np.unique(vertices, axis=0, return_inverse=True)
    index = index.reshape(-1)
    shared, own = vertex_normals(places, index[faces])[index], vertex_normals(vertices, faces)
    return np.where((shared * own).sum(1, keepdims=True) > 0.2, shared, own)
