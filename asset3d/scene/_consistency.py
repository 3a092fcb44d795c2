"""Views whose masks cannot be right: they cut away what all others agree on."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.scene._fit import TOLERANCES, hull_box, mask_distances

if TYPE_CHECKING:
    from asset3d.scene.views import Views

LEAST_VIEWS = 16
"""With fewer, each view rightly cuts away much that no other does: 26 % of the hull for one of 12 around a chair."""
ALONE = 0.1
"""Share of the hull that one of many views may cut away alone: at most 7 % for one of 24 around four objects; half a
mask missing gives 23 % or more."""
ODD = 10
"""And so many times what the median view does, plus half a percent."""
CELLS = 48
"""Cells per axis of the box in which the hull is looked at."""
OUTSIDE = 2.0
"""Pixels beyond the outline of a mask at which a point is outside for sure."""


def contradicting(views: Views) -> dict[int, str]:
    """The views whose masks cannot be right, as long as these are few, and what is wrong with each."""
    if len(views) < LEAST_VIEWS:
        return {}
    share = cut_alone(views)
    most = max(ALONE, ODD * (float(share.median()) + 0.005))
    found = {i: f"its mask cuts away {s:.0%} of what all other masks agree on; repair it, or the camera"
             for i, s in enumerate(share.tolist()) if s > most}
    return found if len(found) <= int(TOLERANCES[-1] * len(views)) else {}


def cut_alone(views: Views) -> Float[Tensor, "B"]:
    """Of the hull of all other masks, the share that each view's mask alone cuts away; zeros where there is no hull."""
    count = len(views)
    alpha, valid, camera = views.alpha, views.valid, views.camera
    box = hull_box(camera, alpha, valid)
    if box is None:
        return torch.zeros(count)
    lower, upper = (torch.tensor(corner, dtype=torch.float32) for corner in box)
    axis = (torch.arange(CELLS) + 0.5) / CELLS
    cells = lower + torch.cartesian_prod(axis, axis, axis) * (upper - lower)
    cuts, last = (torch.zeros(len(cells), dtype=torch.int64) for _ in range(2))
    masks = mask_distances(camera, alpha, valid)
    for index in range(count):
        cut = masks.at(index, *(x[0] for x in masks.camera[index].project(cells))) > OUTSIDE
        cuts += cut
        last[cut] = index
    alone = torch.bincount(last[cuts == 1], minlength=count)
    return alone / (alone + (cuts == 0).sum()).clamp(min=1)

