"""Flat pieces of a surface: their areas, their overlaps, and packing them into a texture with xatlas.

Letters: V' chart vertices, F faces, C charts.
"""
from dataclasses import dataclass, replace

import numpy as np

from asset3d.errors import InputError
from asset3d.scene.mesh_topology import connected, edge_table, half_edges


@dataclass(frozen=True)
class Charts:
    """A surface cut into flat pieces, before packing."""

    vertex: np.ndarray
    """(V',) vertex of the mesh of each chart vertex."""
    faces: np.ndarray
    """(F, 3) chart vertices, in the order of the mesh's faces."""
    position: np.ndarray
    """(V', 2) in the plane, in units of the mesh; charts may lie on each other."""

    def labels(self) -> np.ndarray:
        """(F,) chart of each face, 0 ... C - 1."""
        return connected(len(self.vertex), half_edges(self.faces))[self.faces[:, 0]]


def signed_areas(position: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) areas in the plane, positive where (first, second axis) see the face counter-clockwise."""
    corner = position[faces]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2


def total_area(position: np.ndarray, faces: np.ndarray) -> float:
    return float(np.abs(signed_areas(position, faces)).sum())


def cut(vertex: np.ndarray, flat: np.ndarray, label: np.ndarray) -> Charts:
    """Charts whose corners are one vertex where label and vertex agree.

    Args:
        vertex: (F, 3) vertex of the mesh at each corner.
        flat: (F, 3, 2) position of each corner.
        label: (F,) chart of each face.
    """
    keys = label[:, None] * (vertex.max() + 1) + vertex
    _, first, corner = np.unique(keys, return_index=True, return_inverse=True)
    return Charts(vertex.reshape(-1)[first], corner.reshape(-1, 3), flat.reshape(-1, 2)[first])


def peel_overlaps(charts: Charts, rounds: int = 8) -> Charts:
    """Charts without overlaps: of two faces over each other the later one goes into a chart of its own.

    After `rounds`, faces that still overlap are cut out one by one.
    """
    vertex, flat = charts.faces, charts.position[charts.faces]  # a chart may be cut open: its own vertices count
    neighbours = edge_table(vertex).pairs() // 3
    label = charts.labels()
    for done in range(rounds + 1):
        _, over = overlaps(flat, vertex, label)
        if not len(over):
            break
        group = 2 * label
        group[over] += 1
        joined = neighbours[group[neighbours[:, 0]] == group[neighbours[:, 1]]]
        if done == rounds:
            joined = joined[~np.isin(joined, over).any(1)]
        label = connected(len(group), joined)
    out = cut(vertex, flat, label)
    return replace(out, vertex=charts.vertex[out.vertex])


def overlaps(flat: np.ndarray, vertex: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) and (P,) faces of one chart that lie over each other and share no vertex; the second is the later one.

    Args:
        flat: (F, 3, 2) corners in the plane.
        vertex: (F, 3) vertices.
        label: (F,) charts.
    """
    first, second = _near_pairs(flat, label)
    shared = (vertex[first][:, :, None] == vertex[second][:, None]).any((1, 2))
    first, second = first[~shared], second[~shared]
    over = np.ones(len(first), bool)
    size = np.sqrt(np.abs(_cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]))) + 1e-30
    slack = 1e-3 * np.minimum(size[first], size[second])  # touching along an edge is no overlap
    for mine, other in ((first, second), (second, first)):
        a, b = flat[mine], flat[other]
        for k in range(3):
            along = a[:, (k + 1) % 3] - a[:, k]
            normal = np.stack([-along[:, 1], along[:, 0]], -1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-30)
            side = np.einsum("pd,pkd->pk", normal, a - a[:, k:k + 1])
            across = np.einsum("pd,pkd->pk", normal, b - a[:, k:k + 1])
            over &= (across.max(1) > side.min(1) + slack) & (side.max(1) > across.min(1) + slack)
    return first[over], second[over]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _near_pairs(flat: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of faces (smaller index first) of one chart whose boxes meet a common cell of a grid."""
    low, high = flat.min(1), flat.max(1)
    cell = np.quantile((high - low).max(1), 0.8) + 1e-30
    start, stop = np.floor(low / cell).astype(np.int64), np.floor(high / cell).astype(np.int64)
    span = stop - start + 1
    count = span.prod(1)
    face = np.repeat(np.arange(len(flat)), count)
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    x, y = start[face, 0] + nth // span[face, 1], start[face, 1] + nth % span[face, 1]
    x, y = x - x.min(), y - y.min()
    key = (label[face] * (x.max() + 1) + x) * (y.max() + 1) + y
    order = np.argsort(key, kind="stable")
    key, face = key[order], face[order]
    pairs = [np.zeros((0, 2), np.int64)]
    step = 1
    while True:
        together = np.flatnonzero(key[step:] == key[:-step])
        if not len(together):
            break
        one, two = face[together], face[together + step]
        meet = ((low[one] < high[two]) & (low[two] < high[one])).all(1)
        pairs.append(np.stack([one[meet], two[meet]], -1))
        step += 1
    pairs = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def pack(charts: Charts, size: int, padding: int) -> tuple[Charts, float, int]:
    """Place the charts in a square texture without overlap.

    Args:
        size: Side of the texture, texels.
        padding: Texels between charts; halved until the charts fit if they are very many.

    Returns:
        The charts with positions in [0, 1], which are texture coordinates; texels per unit of the mesh; the padding.

    Raises:
        InputError: the charts do not fit even without padding.
    """
    gap = padding
    while True:
        packed = _pack_with(charts, size, gap)
        if packed is not None:
            return *packed, gap
        if gap == 0:
            raise InputError(f"unwrap: {charts.labels().max() + 1} charts do not fit a texture of {size} x {size} "
                             "texels; use a larger texture or decimate the mesh further")
        gap //= 2


_MARGIN = 1
"""Texels left free along the border of the texture, so that filtering never reaches around it."""


def _pack_with(charts: Charts, size: int, padding: int) -> tuple[Charts, float] | None:
    """The largest scale found that fits: xatlas grows the atlas as it needs, so the scale is searched from outside."""
    import xatlas
    apart = _laid_apart(charts)
    texels = 0.75 * (size - 2 * padding) / np.sqrt(max(total_area(charts.position, charts.faces), 1e-30))
    best, tried = None, 0
    for _ in range(7):
        atlas, options = xatlas.Atlas(), xatlas.PackOptions()
        atlas.add_uv_mesh(np.ascontiguousarray(apart * texels, np.float32), charts.faces.astype(np.uint32))
        options.padding, options.texels_per_unit = padding, 1.0  # in texels: xatlas drops triangles below 1e-7
        atlas.generate(xatlas.ChartOptions(), options)
        side = max(atlas.width, atlas.height) + 2 * _MARGIN
        if side <= size and (best is None or texels > best[1]):
            best = atlas, float(texels)
        tried += 1
        texels *= size / side * (1.01 if side <= size else 0.995)
        if best is not None and texels < best[1]:
            texels = best[1] * (1 + 0.01 * tried)  # packing is erratic: a larger scale may still fit
    return None if best is None else (_placed(best[0], charts, apart, size), best[1])


def _laid_apart(charts: Charts) -> np.ndarray:
    """Positions (V', 2) with the charts on a grid: xatlas takes vertices of one position for neighbours."""
    label = np.zeros(len(charts.vertex), np.int64)
    label[charts.faces.reshape(-1)] = np.repeat(charts.labels(), 3)
    low = np.full((label.max() + 1, 2), np.inf)
    np.minimum.at(low, label, charts.position)
    local = charts.position - low[label]
    columns = int(np.ceil(np.sqrt(len(low))))
    return local + np.stack([label % columns, label // columns], -1) * (local.max() * 1.1 + 1e-6)


def _placed(atlas, charts: Charts, apart: np.ndarray, size: int) -> Charts:
    """The charts moved to where xatlas put them.

    xatlas leaves out triangles without an area and may split a chart that hangs together by one of them, so each of
    its charts is moved as a whole, by the map of its largest triangle, and slivers go with the corner they share.
    """
    _, faces, uv = atlas.get_mesh(0)
    faces = faces.astype(np.int64)
    packed = (uv * np.array([atlas.width, atlas.height], np.float64))[faces]
    _, chart = atlas.get_mesh_vertex_assignment(0)
    chart = np.where(chart < atlas.chart_count, chart, atlas.chart_count).astype(np.int64)[faces]
    group = np.where(chart[:, 1] == chart[:, 2], chart[:, 1], chart[:, 0])
    whole = (chart == group[:, None]).all(1)
    flat = apart[charts.faces]
    area = np.where(whole, np.abs(_cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0])), 0)
    order = np.lexsort((-area, group))
    groups, first = np.unique(group[order], return_index=True)
    largest = order[first]
    from_edges = np.stack([flat[largest, 1] - flat[largest, 0], flat[largest, 2] - flat[largest, 0]], -1)
    to_edges = np.stack([packed[largest, 1] - packed[largest, 0], packed[largest, 2] - packed[largest, 0]], -1)
    turn = to_edges @ np.linalg.pinv(from_edges)
    of = np.searchsorted(groups, group)
    offset = flat - flat[largest, 0][of][:, None]
    moved = np.einsum("fij,fkj->fki", turn[of], offset) + packed[largest, 0][of][:, None]
    _shrink_unplaced(moved, charts.vertex[charts.faces], group == atlas.chart_count)
    out = cut(charts.faces, (moved + _MARGIN) / size, group)
    return replace(out, vertex=charts.vertex[out.vertex])


def _shrink_unplaced(moved: np.ndarray, vertex: np.ndarray, unplaced: np.ndarray) -> None:
    """Draw triangles that are in no chart, having no area, together into a point of a neighbour (in place)."""
    corner = np.full(vertex.max() + 1, -1)
    placed = np.flatnonzero(np.repeat(~unplaced, 3))
    corner[vertex.reshape(-1)[placed]] = placed
    neighbour = corner[vertex[unplaced]].max(1)
    moved[unplaced] = np.where(neighbour[:, None] >= 0, moved.reshape(-1, 2)[neighbour], 0)[:, None]


def scaled(charts: Charts, area: float) -> Charts:
    """The charts at the scale that gives them this total area."""
    now = total_area(charts.position, charts.faces)
    return replace(charts, position=charts.position * np.sqrt(area / max(now, 1e-30)))
