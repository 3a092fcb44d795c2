"""Cleaning of extracted surfaces before they are decimated and unwrapped. Letters: V vertices, F faces."""
from dataclasses import dataclass, replace

import numpy as np
import torch

from asset3d.errors import EmptySurface, InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import (connected, corner_fans, edge_table, face_components, face_normals, half_edges,
                                         split_vertices)

SHORTEST_EDGE = 1e-6
"""Edges below this length, in units of the diagonal of the bounding box, are collapsed."""
SMALLEST_AREA = 1e-13
"""Faces below this area, in units of the squared diagonal, have no usable normal."""


@dataclass(frozen=True)
class CleanupReport:
    """How much `clean_mesh` took away or turned."""

    degenerate_faces: int = 0
    duplicate_faces: int = 0
    turned_faces: int = 0
    components: int = 1
    """Before; `removed_components` of them are gone."""
    removed_components: int = 0
    removed_area: float = 0.0
    """Fraction of the surface that went with them."""
    unreferenced_vertices: int = 0


def clean_mesh(mesh: Mesh, min_component: float = 0.01, max_components: int = 64) -> tuple[Mesh, CleanupReport]:
    """A mesh of the largest components, without degenerate or duplicate faces or vertices that no face uses.

    A component (faces that share vertices) is kept if its area is at least `min_component` of the largest one's, up
    to `max_components`, largest first. Closed cavities inside a kept component cannot be seen and are removed too.
    Neighbouring faces are given one orientation: the one that most of the component's area had.

    Args:
        mesh: Attributes follow their vertices.
        min_component: Fraction of the area of the largest component, in [0, 1].
        max_components: At least 1.

    Raises:
        InputError: an index is outside the vertices, or a parameter outside its range.
        EmptySurface: nothing is left.
    """
    if not 0 <= min_component <= 1 or max_components < 1:
        raise InputError(f"clean_mesh: min_component must be in [0, 1] and max_components >= 1, got {min_component} "
                         f"and {max_components}")
    vertices, faces = arrays(mesh)
    faces = _collapse_short_edges(vertices, faces)
    used, degenerate, duplicate = _valid_faces(vertices, faces)
    faces = faces[used]
    faces, turned = orient(vertices, faces)
    keep, components, removed, area = _largest_components(vertices, faces, min_component, max_components)
    faces = faces[keep]
    if not len(faces):
        raise EmptySurface("clean_mesh: no face with an area is left of "
                           f"{mesh.faces.shape[0]}; the surface is empty or its vertices are not finite")
    cleaned, unreferenced = remove_unreferenced(replace(mesh, faces=torch.from_numpy(faces).to(mesh.faces.device)))
    return cleaned, CleanupReport(degenerate, duplicate, turned, components, removed, area, unreferenced)


def arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in float64 and faces (F, 3) in int64; refuses indices without a vertex."""
    vertices = mesh.vertices.detach().cpu().double().numpy()
    faces = mesh.faces.detach().cpu().long().numpy()
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise InputError(f"mesh: face indices must be in [0, {len(vertices)}), got {faces.min()} to {faces.max()}")
    return vertices, faces


def take_vertices(mesh: Mesh, index: torch.Tensor, faces: torch.Tensor) -> Mesh:
    """The mesh whose vertex i is vertex index[i] of `mesh`, with all its attributes, and these faces."""
    pick = lambda x: None if x is None else x[index]
    return replace(mesh, vertices=mesh.vertices[index], faces=faces, normals=pick(mesh.normals), uvs=pick(mesh.uvs),
                   tangents=pick(mesh.tangents), colors=pick(mesh.colors))


def remove_unreferenced(mesh: Mesh) -> tuple[Mesh, int]:
    """The mesh without vertices that no face uses, in the old order, and how many those were."""
    used, faces = torch.unique(mesh.faces, return_inverse=True)
    return take_vertices(mesh, used, faces.reshape(-1, 3)), mesh.vertices.shape[0] - len(used)


def orient(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, int]:
    """Faces (F, 3) of one orientation per component, and how many were turned.

    Works on the double cover: each face is two nodes, as it is and turned. Across an edge, the nodes that agree are
    joined; a component's two copies are its two orientations, and the one that turns less area is taken. A surface
    that cannot be oriented (a Möbius strip) stays as it is. If the largest component is then closed and inside
    out, everything is turned.
    """
    n = len(faces)
    if not n:
        return faces, 0
    table, ends = edge_table(faces), half_edges(faces)
    a, b = table.pairs().T
    same = (ends[a, 0] == ends[b, 0]).astype(np.int64)  # running the same way along the edge: one must be turned
    f, g = a // 3, b // 3
    kept, flipped = np.stack([f, g + n * same], -1), np.stack([f + n, g + n * (1 - same)], -1)
    label = connected(2 * n, np.concatenate([kept, flipped]))
    _, area = face_normals(vertices, faces)
    weight = np.bincount(label, np.concatenate([area, np.zeros(n)]), label.max() + 1)
    as_is, turned = weight[label[:n]], weight[label[n:]]
    flip = (turned > as_is) | ((turned == as_is) & (label[n:] < label[:n]))
    faces = np.where(flip[:, None], faces[:, ::-1], faces)
    component = face_components(faces, len(vertices))
    largest = component == np.bincount(component, area).argmax()
    if (edge_table(faces[largest]).count == 2).all() and _volume(vertices, faces[largest]) < 0:
        faces, flip = faces[:, ::-1], ~flip
    return np.ascontiguousarray(faces), int(flip.sum())


def drop_invalid_faces(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The faces (F, 3) without those that have no area and those that repeat an earlier one."""
    return faces[_valid_faces(vertices, faces)[0]]


def split_non_manifold(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same surface with at most two faces per edge and one fan of faces per vertex.

    Where more than two faces meet in an edge they are paired so that each pair bounds its own piece of solid, and the
    vertices that the pieces share are duplicated; where two pieces still share both ends, the edge is cut in half.

    Returns:
        vertices, faces, and (V',) the old vertex of each new one, -1 for the middle of an edge. Old vertices come
        first and keep their numbers.
    """
    faces, vertices, source = _cut_shared_edges(vertices, faces)
    fans = corner_fans(faces, _solid_pairs(vertices, faces))
    split, index = split_vertices(faces, fans.reshape(-1, 3), len(vertices))
    return vertices[index], split, source[index]


def _diagonal(vertices: np.ndarray) -> float:
    finite = vertices[np.isfinite(vertices).all(1)]
    return float(np.linalg.norm(np.ptp(finite, axis=0))) if len(finite) else 1.0


def _collapse_short_edges(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces whose needles share one vertex at their short end, so that dropping them leaves no crack."""
    ends = half_edges(faces)
    with np.errstate(invalid="ignore"):
        length = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
    short = ends[length < SHORTEST_EDGE * _diagonal(vertices)]
    if not len(short):
        return faces
    label = connected(len(vertices), short)
    _, first = np.unique(label, return_index=True)
    return first[label][faces]


def _valid_faces(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Indices of the faces that have an area and come first among equals; counts of the others."""
    finite = np.isfinite(vertices).all(1)
    whole = finite[faces].all(1) & (faces != np.roll(faces, 1, axis=1)).all(1)
    corners = np.where(finite[:, None], vertices, 0)
    whole &= face_normals(corners, faces)[1] > SMALLEST_AREA * _diagonal(vertices) ** 2
    index = np.flatnonzero(whole)
    chosen = faces[index]
    turn = (chosen.argmin(1)[:, None] + np.arange(3)) % 3  # smallest vertex first keeps the orientation
    _, first = np.unique(np.take_along_axis(chosen, turn, 1), axis=0, return_index=True)
    return index[np.sort(first)], int((~whole).sum()), len(index) - len(first)


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    corner = vertices[faces] - vertices[faces].mean((0, 1))
    return float((corner[:, 0] * np.cross(corner[:, 1], corner[:, 2])).sum() / 6)


def _largest_components(vertices, faces, min_component, max_components) -> tuple[np.ndarray, int, int, float]:
    """Mask of the faces to keep, number of components, how many are removed, and their share of the area."""
    if not len(faces):
        return np.zeros(0, bool), 0, 0, 0.0
    component = face_components(faces, len(vertices))
    _, area = face_normals(vertices, faces)
    size = np.bincount(component, area)
    ranked = np.argsort(-size, kind="stable")
    chosen = [c for c in ranked[:max_components] if size[c] >= min_component * size[ranked[0]]]
    chosen = _without_cavities(vertices, faces, component, chosen)
    keep = np.isin(component, chosen)
    return keep, len(size), len(size) - len(chosen), float(area[~keep].sum() / area.sum())


def _without_cavities(vertices, faces, component, chosen) -> list[int]:
    """The components that are not closed, inside out, and within the box of another one."""
    parts = {c: faces[component == c] for c in chosen}
    boxes = {c: (vertices[part].min((0, 1)), vertices[part].max((0, 1))) for c, part in parts.items()}
    volume = {c: _volume(vertices, part) for c, part in parts.items()}

    def hidden(c):
        inside = any(volume[o] > 0 and (boxes[o][0] < boxes[c][0]).all() and (boxes[o][1] > boxes[c][1]).all()
                     for o in chosen if o != c)
        return inside and volume[c] < 0 and (edge_table(parts[c]).count == 2).all()

    return [c for c in chosen if not hidden(c)]


def _solid_pairs(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(P, 2) half-edges that are neighbours; around a crowded edge, those that bound the same piece of solid."""
    table = edge_table(faces)
    pairs, ends = [table.pairs()], half_edges(faces)
    for edge in np.flatnonzero(table.count > 2):
        around = table.order[table.first[edge]:table.first[edge + 1]]
        pairs.append(_pair_around(vertices, faces, around, ends[around, 0] == table.edges[edge, 0]))
    return np.concatenate(pairs)


def _pair_around(vertices, faces, around, forward) -> np.ndarray:
    """Pair each backward half-edge with the next forward one around their edge: solid lies between the two."""
    start, end = np.sort(half_edges(faces)[around[0]])
    axis = vertices[end] - vertices[start]
    axis = axis / max(np.linalg.norm(axis), 1e-300)
    opposite = faces[around // 3, (around % 3 + 2) % 3]
    radial = vertices[opposite] - vertices[start]
    radial -= (radial @ axis)[:, None] * axis
    x = radial[0] / max(np.linalg.norm(radial[0]), 1e-300)
    angle = np.round(np.arctan2(radial @ np.cross(axis, x), radial @ x), 9)  # coincident faces tie exactly
    waiting, pairs, done = [], [], set()
    for k in [*np.lexsort((around, forward, angle))] * 2:  # twice around: the first may close the last
        if not forward[k] and around[k] not in done:
            waiting.append(around[k])
            done.add(around[k])
        elif forward[k] and around[k] not in done and waiting:
            pairs.append((waiting.pop(), around[k]))
            done.add(around[k])
    return np.array(pairs, np.int64).reshape(-1, 2)


def _cut_shared_edges(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the edges whose pairs of faces keep both ends in common even when fans are separated."""
    source = np.arange(len(vertices))
    for _ in range(3):  # a face can lie on three such edges; one is cut at a time
        pairs = _solid_pairs(vertices, faces)
        fans = corner_fans(faces, pairs)
        table = edge_table(fans.reshape(-1, 3))
        crowded = np.isin(table.edge_of, np.flatnonzero(table.count > 2))
        pairs = pairs[crowded[pairs[:, 0]]]
        if not len(pairs):
            break
        _, first = np.unique(pairs[:, 0] // 3, return_index=True)
        pairs = pairs[first]
        taken, chosen = set(), []
        for a, b in pairs:
            if a // 3 not in taken and b // 3 not in taken:
                taken |= {a // 3, b // 3}
                chosen.append((a, b))
        faces, vertices, source = _cut_pairs(vertices, faces, source, np.array(chosen))
    return faces, vertices, source


def _cut_pairs(vertices, faces, source, pairs):
    """Give each pair of half-edges a vertex of its own in the middle; each of its two faces becomes two."""
    middle = len(vertices) + np.arange(len(pairs))
    ends = half_edges(faces)[pairs[:, 0]]
    vertices = np.concatenate([vertices, vertices[ends].mean(1)])
    source = np.concatenate([source, np.full(len(pairs), -1)])
    half, new = pairs.reshape(-1), np.repeat(middle, 2)
    face, corner = half // 3, half % 3
    second = faces[face].copy()
    second[np.arange(len(half)), corner] = new  # keeps the end of the edge and the opposite corner
    faces = faces.copy()
    faces[face, (corner + 1) % 3] = new  # keeps the start
    return np.concatenate([faces, second]), vertices, source
