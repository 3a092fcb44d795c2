"""The visual hull: all points that every view sees inside its mask."""
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from asset3d.scene.views import Views

POINTS_AT_ONCE = 1 << 19


def mask_at(views: Views, index: int, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Alpha of one view at the projections of points; 1 where it knows nothing: outside its image, behind the camera,
    and beside its valid pixels."""
    camera = views.camera[index]
    pixel, depth = camera.project(points)
    size = pixel.new_tensor([camera.width, camera.height])
    inside = ((pixel[0] >= 0) & (pixel[0] <= size)).all(-1) & (depth[0] > 0)
    grid = (pixel / size * 2 - 1)[:, None]
    planes = [views.alpha[index]] if views.valid is None else [views.alpha[index], views.valid[index].float()]
    looked_up = grid_sample(torch.cat(planes, -1).permute(2, 0, 1)[None], grid, align_corners=False,
                            padding_mode="border")[0, :, 0]
    if views.valid is not None:
        inside = inside & (looked_up[1] > 0.999)
    return torch.where(inside, looked_up[0], 1.0)


def visual_hull(views: Views, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Occupancy in [0, 1] of points: the smallest mask value over all views."""
    parts = []
    for chunk in points.split(POINTS_AT_ONCE):
        occupancy = torch.ones(len(chunk), device=points.device)
        for index in range(len(views)):
            occupancy = torch.minimum(occupancy, mask_at(views, index, chunk))
        parts.append(occupancy)
    return torch.cat(parts)
