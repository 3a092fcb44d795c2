"""Texture coordinates: charts by xatlas within limits, or by projection along the axes; packed by xatlas.

xatlas' time grows faster than the face count and has no way to be stopped, so it is never given more than BLOCK faces
at once. All limits are counts, never times: the same mesh always takes the same path. Letters: V vertices, F faces.
"""
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from asset3d.errors import EmptySurface, InputError
from asset3d.scene.axis_charts import axis_charts
from asset3d.scene.charts import Charts, pack, peel_overlaps, scaled, total_area
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays, take_vertices
from asset3d.scene.mesh_topology import face_normals, vertex_normals

BLOCK = 20_000
"""Faces given to xatlas at once: 2 s for a smooth surface, 20 s for pure noise (one core)."""
Progress = Callable[[float, str], None]
"""Called with the fraction done and what is being done."""


@dataclass(frozen=True)
class UnwrapReport:
    """How the texture is used."""

    method: str
    """xatlas, or axes where a limit was passed."""
    charts: int
    texels_per_unit: float
    """Along a side, in units of the mesh."""
    utilization: float
    """Fraction of the texture covered by triangles."""
    padding: int
    """Texels between charts; less than asked for only where the charts did not fit otherwise."""


def unwrap(mesh: Mesh, texture_size: int = 1024, padding: int = 4, face_limit: int = 200_000, chart_limit: int = 4000,
           progress: Progress | None = None) -> tuple[Mesh, UnwrapReport]:
    """The mesh with vertices duplicated along seams and texture coordinates (v = 0 is the top row).

    Charts do not overlap and keep `padding` texels from each other at `texture_size`. A chart may be mirrored, which
    the sign of its tangents tells.

    Args:
        mesh: Cleaned; its faces keep their order. Tangents are dropped.
        texture_size: Side of the square texture, texels.
        padding: Texels between charts.
        face_limit: Above it charts are made by projection along the axes.
        chart_limit: If xatlas makes more charts, the same.
        progress: Called before each piece of work.

    Raises:
        InputError: the texture is too small for the charts, or a parameter is out of range.
        EmptySurface: the mesh has no faces.
    """
    if texture_size < 16 or padding < 0 or face_limit < 0 or chart_limit < 1:
        raise InputError("unwrap: texture_size must be at least 16, padding and face_limit at least 0, chart_limit at "
                         f"least 1, got {texture_size}, {padding}, {face_limit}, {chart_limit}")
    vertices, faces = arrays(mesh)
    if not len(faces):
        raise EmptySurface("unwrap: the mesh has no faces")
    report = progress or (lambda fraction, message: None)
    charts, method = _charts(vertices, faces, face_limit, chart_limit, report)
    count = int(charts.labels().max()) + 1
    report(0.9, f"packing {count} charts")
    charts, texels, padding = pack(charts, texture_size, padding)
    out = take_vertices(mesh, torch.from_numpy(charts.vertex).to(mesh.faces.device),
                        torch.from_numpy(charts.faces).to(mesh.faces.device))
    out = replace(out, uvs=torch.from_numpy(charts.position).to(mesh.vertices), tangents=None)
    report(1.0, "unwrapped")
    return out, UnwrapReport(method, count, texels, total_area(charts.position, charts.faces), padding)


def _charts(vertices, faces, face_limit, chart_limit, report) -> tuple[Charts, str]:
    charts, method = None, "xatlas"
    if len(faces) <= face_limit:
        charts = _xatlas_charts(vertices, faces, chart_limit, report)
    if charts is None:
        report(0.5, f"projecting {len(faces)} faces along the axes")
        charts, method = axis_charts(vertices, faces), "axes"
    report(0.8, "separating overlaps")
    return scaled(peel_overlaps(charts), face_normals(vertices, faces)[1].sum()), method


def _xatlas_charts(vertices, faces, chart_limit, report) -> Charts | None:
    """Charts of every block, or None if they are more than the limit."""
    blocks, normals = _blocks(vertices, faces), vertex_normals(vertices, faces)
    joined, vertex, position, count = np.empty_like(faces), [], [], 0
    for done, block in enumerate(blocks):
        report(0.8 * done / len(blocks), f"charting {len(block)} faces, block {done + 1} of {len(blocks)}")
        part, charts = _xatlas_block(vertices, normals, faces[block])
        joined[block] = part.faces + sum(map(len, vertex))
        vertex.append(part.vertex)
        position.append(part.position)
        count += charts
        if count > chart_limit:
            return None
    return Charts(np.concatenate(vertex), joined, np.concatenate(position))


def _blocks(vertices: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """Indices of faces, at most BLOCK in each: halved along the longest side until they are few enough."""
    middle, todo, done = vertices[faces].mean(1), [np.arange(len(faces))], []
    while todo:
        index = todo.pop()
        if len(index) <= BLOCK:
            done.append(np.sort(index))
            continue
        axis = np.ptp(middle[index], axis=0).argmax()
        index = index[np.argsort(middle[index, axis], kind="stable")]
        todo += [index[len(index) // 2:], index[:len(index) // 2]]
    return done


def _xatlas_block(vertices, normals, faces) -> tuple[Charts, int]:
    """Charts of some faces, at the scale of the mesh, and their number."""
    import xatlas
    used, local = np.unique(faces, return_inverse=True)
    center = vertices[used].mean(0)  # xatlas computes in float32
    size = np.abs(vertices[used] - center).max() or 1.0
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray((vertices[used] - center) / size, np.float32),
                   local.reshape(-1, 3).astype(np.uint32), np.ascontiguousarray(normals[used], np.float32))
    atlas.generate(xatlas.ChartOptions(), xatlas.PackOptions())
    vertex, out, uv = atlas.get_mesh(0)
    position = uv * np.array([atlas.width, atlas.height], np.float64) / atlas.texels_per_unit * size
    return Charts(used[vertex], out.astype(np.int64), position), atlas.chart_count
