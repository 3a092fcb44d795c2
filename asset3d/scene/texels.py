"""Texels and the triangles they lie on. Letters: H rows, W columns, F faces, T covered texels."""
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.scene.mesh import Mesh


@dataclass(frozen=True)
class TexelMap:
    """Where each covered texel's centre lies on the mesh."""

    row: np.ndarray
    """(T,)"""
    column: np.ndarray
    """(T,)"""
    face: np.ndarray
    """(T,)"""
    weights: np.ndarray
    """(T, 3) barycentric weights of the face's corners."""
    size: tuple[int, int]
    """Rows and columns of the texture."""

    def interpolate(self, attribute: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(T, A) values of a vertex attribute (V, A)."""
        return np.einsum("tk,tka->ta", self.weights, attribute[faces[self.face]])

    def image(self, values: np.ndarray) -> np.ndarray:
        """(H, W, A) with values (T, A) at the covered texels and 0 elsewhere."""
        out = np.zeros((*self.size, values.shape[1]), values.dtype)
        out[self.row, self.column] = values
        return out

    def mask(self) -> np.ndarray:
        """(H, W) covered."""
        out = np.zeros(self.size, bool)
        out[self.row, self.column] = True
        return out


def texel_map(mesh: Mesh, height: int, width: int) -> TexelMap:
    """The texels whose centres lie in a triangle of the mesh's texture coordinates; of several, the last face's.

    A face works on the rows its triangle spans, so that the cost is the covered area and not the boxes around it.
    """
    corner = mesh.uvs.detach().cpu().double().numpy()[mesh.faces.cpu().numpy()] * [width, height]
    face, row, left, right = _spans(corner, height, width)
    count = right - left
    nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    face, row = np.repeat(face, count), np.repeat(row, count)
    column = np.repeat(left, count) + nth
    texel = row * width + column
    last = len(texel) - 1 - np.unique(texel[::-1], return_index=True)[1]
    face, row, column = face[last], row[last], column[last]
    weights = _barycentric(corner[face], np.stack([column + 0.5, row + 0.5], -1))
    return TexelMap(row, column, face, weights, (height, width))


def _spans(corner, height, width):
    """For each face and row of texel centres that it crosses: first and past-the-last column inside."""
    first = np.clip(np.ceil(corner[..., 1].min(1) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(corner[..., 1].max(1) - 0.5), first, height).astype(np.int64)
    rows = last - first
    face = np.repeat(np.arange(len(corner)), rows)
    row = np.repeat(first, rows) + np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    y, low, high = row + 0.5, np.full(len(face), np.inf), np.full(len(face), -np.inf)
    for k in range(3):
        a, b = corner[face, k], corner[face, (k + 1) % 3]
        rise = b[:, 1] - a[:, 1]
        crosses = (np.minimum(a[:, 1], b[:, 1]) <= y) & (y <= np.maximum(a[:, 1], b[:, 1])) & (rise != 0)
        x = a[:, 0] + (y - a[:, 1]) / np.where(rise == 0, 1, rise) * (b[:, 0] - a[:, 0])
        low, high = np.where(crosses, np.minimum(low, x), low), np.where(crosses, np.maximum(high, x), high)
    inside = np.isfinite(low)
    face, row, low, high = face[inside], row[inside], low[inside], high[inside]
    left = np.clip(np.ceil(low - 0.5), 0, width).astype(np.int64)
    return face, row, left, np.clip(np.floor(high - 0.5) + 1, left, width).astype(np.int64)


def _barycentric(corner: np.ndarray, point: np.ndarray) -> np.ndarray:
    a, b, p = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0], point - corner[:, 0]
    cross = lambda x, y: x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]
    area = cross(a, b)
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    second, third = cross(p, b) / area, cross(a, p) / area
    weights = np.clip(np.stack([1 - second - third, second, third], -1), 0, 1)
    return weights / weights.sum(1, keepdims=True)


def fill_outside(texture: Float[Tensor, "H W C"], mask: Bool[Tensor, "H W"]) -> Float[Tensor, "H W C"]:
    """The texture with every texel outside the mask given the value of the nearest one inside.

    The whole texture is filled, so that no mip level and no filter mixes a background into a chart.
    """
    from scipy.ndimage import distance_transform_edt
    if bool(mask.all()) or not bool(mask.any()):
        return texture
    index = distance_transform_edt(~mask.cpu().numpy(), return_distances=False, return_indices=True)
    row, column = (torch.from_numpy(i.astype(np.int64)).to(texture.device) for i in index)
    return texture[row, column]
