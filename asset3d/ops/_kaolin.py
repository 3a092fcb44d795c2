"""`marching_tets` by kaolin (DMTet, Shen et al. 2021): the same vertices and faces in the same order, any device."""
from torch import Tensor

from asset3d.ops import _backend

_conversions = _backend.package("kaolin.ops.conversions")


def marching_tets(sdf: Tensor, vertices: Tensor, grid) -> tuple[Tensor, Tensor]:
    made, faces = _conversions.marching_tetrahedra(vertices[None], grid.tets.long(), sdf[None])
    return made[0], faces[0]
