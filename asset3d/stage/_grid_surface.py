"""The surface of what has a value everywhere. Letters in shapes: N points, V vertices, F faces."""
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.ops.marching_tets import marching_tets_dense
from asset3d.representation._field import require_surface

POINTS_AT_ONCE = 1 << 19
"""Grid points looked at together, in whole planes: what bounds the memory."""


def zero_level(value_at: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N"]], resolution: int,
               device: torch.device) -> tuple[Float[Tensor, "V 3"], Tensor]:
    """Vertices and faces (F, 3) where values on a grid over [-0.5, 0.5]^3, a little wider, cross 0; inside they are
    negative. The border counts as outside, so that the surface is closed.

    Raises:
        EmptySurface: They do not cross 0.
    """
    n, reach = resolution + 3, 0.5 + 1 / resolution
    axis = torch.linspace(-reach, reach, n, device=device)
    slabs = []
    for part in axis.split(max(1, POINTS_AT_ONCE // n**2)):
        points = torch.stack(torch.meshgrid(part, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        slabs.append(value_at(points).reshape(len(part), n, n))
    value = torch.cat(slabs)
    value[0], value[-1], value[:, 0], value[:, -1] = 1, 1, 1, 1
    value[:, :, 0], value[:, :, -1] = 1, 1
    require_surface(value)
    return marching_tets_dense(-value, (-reach,) * 3, (reach,) * 3)
