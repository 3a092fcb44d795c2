"""Which cells of [-0.5, 0.5]^3 rays need to visit."""
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from asset3d.errors import InputError
from asset3d.scene.views import Views
from asset3d.scene.visual_hull import visual_hull


class OccupancyGrid(nn.Module):
    """A grid of cells, full or empty. `allowed` is fixed (the visual hull), `occupied` follows the field."""

    def __init__(self, resolution: int):
        super().__init__()
        self.resolution = resolution
        shape = (resolution,) * 3
        self.register_buffer("allowed", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("occupied", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("value", torch.zeros(shape))

    def centers(self) -> Float[Tensor, "N 3"]:
        """Centres of all cells, x slowest."""
        axis = (torch.arange(self.resolution, device=self.value.device) + 0.5) / self.resolution - 0.5
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)

    def allow(self, mask: Bool[Tensor, "X Y Z"], margin: int = 4) -> None:
        """Never visit cells further than `margin` cells from `mask`.

        The margin matters: a surface that grows out of the mask must be seen, or nothing would push it back.
        """
        for _ in range(margin):
            mask = dilate(mask)
        self.allowed.copy_(mask)
        self.occupied &= self.allowed

    def allow_hull(self, views: Views, least: float) -> Bool[Tensor, "X Y Z"]:
        """Never look far outside of the visual hull; returns the cells whose centres all masks call at least `least`.

        Raises:
            InputError: There is no such cell.
        """
        hull = visual_hull(views, self.centers()).reshape(self.allowed.shape) > least
        if not hull.any():
            raise InputError(f"no cell of the occupancy grid ({self.resolution} per axis) lies inside the masks of all "
                             f"{len(views)} views; check that masks and cameras belong together, or, for a very thin "
                             "object, give a finer `occupancy_resolution`")
        self.allow(hull)
        return hull

    def set(self, mask: Bool[Tensor, "X Y Z"]) -> None:
        """Visit the cells of `mask`, as far as they are allowed."""
        self.occupied.copy_(mask & self.allowed)


def dilate(mask: Bool[Tensor, "X Y Z"]) -> Bool[Tensor, "X Y Z"]:
    """Grow a mask by one cell in every direction, diagonals included."""
    return nn.functional.max_pool3d(mask[None, None].float(), 3, 1, 1)[0, 0] > 0
