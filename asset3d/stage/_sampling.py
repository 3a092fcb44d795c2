"""Where targets come from: pixels of all views at once, or whole views."""
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from asset3d.renderer.base import Rays
from asset3d.scene.camera import Camera
from asset3d.scene.rendering import Target
from asset3d.scene.views import Views

MakeGenerator = Callable[[int], torch.Generator]
"""Gives the generator that shuffles one round of all views."""
EVERYWHERE = 8
"""One pixel in EVERYWHERE is drawn from whole images; the others lie on or near the object."""


class RaySampler:
    """Draws pixels of all views."""

    def __init__(self, views: Views):
        self.views = views
        margin = max(views.camera.height, views.camera.width) // 32
        near = around(views.alpha, margin)
        if views.valid is not None:
            near &= views.valid
        self.near = torch.nonzero(near.flatten())[:, 0].int()

    def draw(self, count: int, background: Float[Tensor, "3"], generator: torch.Generator) -> tuple[Rays, Target]:
        """`count` pixels and the rays through their centres; fewer where no view shows the object."""
        views, camera = self.views, self.views.camera
        n_anywhere = count // EVERYWHERE
        picked = torch.randint(max(len(self.near), 1), (count - n_anywhere,), generator=generator)
        anywhere = torch.randint(views.alpha.numel(), (n_anywhere,), generator=generator)
        near = self.near[picked.to(self.near.device)].long() if len(self.near) else picked[:0].to(self.near.device)
        pixel = torch.cat([near, anywhere.to(near.device)])
        view, within = pixel // (camera.height * camera.width), pixel % (camera.height * camera.width)
        row, column = within // camera.width, within % camera.width
        position = torch.stack([column + 0.5, row + 0.5], -1)
        chosen = camera[view]
        directions = chosen.directions(position[:, None])[:, 0]
        scale = (directions * chosen.forward).sum(-1, keepdim=True)
        pick = lambda x: None if x is None else x.reshape(-1, x.shape[-1])[pixel]
        target = Target(pick(views.color), pick(views.alpha), background, view, pick(views.valid), pick(views.depth),
                        pick(views.normal))
        return Rays(chosen.position, directions, scale), target


class ImageSampler:
    """Draws whole views, each once per round."""

    def __init__(self, views: Views):
        self.views = self._resized = views
        self._round, self._order = -1, torch.empty(0)

    def draw(self, count: int, step: int, height: int, background: Float[Tensor, "3"],
             make_generator: MakeGenerator) -> tuple[Camera, Target]:
        """The `count` views of one step, with images of `height` rows."""
        if height != self._resized.camera.height:  # only the latest size is kept: a schedule may pass through hundreds
            self._resized = self.views if height == self.views.camera.height else self._resize(height)
        views = self._resized
        n = len(views)
        order: list[int] = []
        for position in range(step * count, (step + 1) * count):
            order.append(int(self._permutation(position // n, make_generator)[position % n]))
        index = torch.tensor(order, device=views.color.device)
        chosen = views[index]
        view = index[:, None, None].expand(chosen.alpha.shape[:3])
        target = Target(chosen.color, chosen.alpha, background, view, chosen.valid, chosen.depth, chosen.normal)
        return chosen.camera, target

    def _permutation(self, round_: int, make_generator: MakeGenerator) -> Tensor:
        if self._round != round_:
            self._round, self._order = round_, torch.randperm(len(self.views), generator=make_generator(round_))
        return self._order

    def _resize(self, height: int) -> Views:
        """All views in another size, by averaging; colours are weighted with alpha.

        Of depths and normals, which must not be mixed at edges, each pixel gets the nearest one.
        """
        views = self.views
        width = max(1, round(views.camera.width * height / views.camera.height))
        area = lambda x: interpolate(x.permute(0, 3, 1, 2), (height, width), mode="area").permute(0, 2, 3, 1)
        alpha = area(views.alpha)
        color = area(views.color * views.alpha) / alpha.clamp(min=1e-4)
        valid = None if views.valid is None else area(views.valid.float()) > 0.999
        nearest = lambda x: None if x is None else interpolate(
            x.permute(0, 3, 1, 2), (height, width), mode="nearest-exact").permute(0, 2, 3, 1)
        return Views(views.camera.resized(height, width), color, alpha, views.names, valid, nearest(views.depth),
                     nearest(views.normal))


def around(alpha: Float[Tensor, "B H W 1"], margin: int) -> Bool[Tensor, "B H W 1"]:
    """Pixels within `margin` of the object."""
    grown = max_pool2d(alpha.permute(0, 3, 1, 2), 2 * margin + 1, 1, margin)
    return grown.permute(0, 2, 3, 1) > 0
