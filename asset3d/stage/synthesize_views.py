"""New views of an object, drawn by a prior that is given some (Zero-1-to-3; Cascade-Zero123, Chen et al. 2024)."""
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from asset3d.prior.base import at_size, shared
from asset3d.prior.zero123 import rig_poses
from asset3d.registry import Config, OneOf, register
from asset3d.scene.camera import Camera, orbit, orbit_of
from asset3d.scene.image import save_png
from asset3d.scene.matting import before_white
from asset3d.scene.rigs import ZERO123_DISTANCE, ZERO123_FOV, fibonacci
from asset3d.scene.views import Views, ViewSet, joined_views
from asset3d.stage.base import Stage, StageConfig


class SynthesizeViewsConfig(StageConfig):
    type: Literal["synthesize_views"] = "synthesize_views"
    prior: Annotated[Config, OneOf("prior")]
    """Draws the views. One that was trained as a refiner needs a `base`."""
    base: Annotated[Config, OneOf("prior")] | None = None
    """Draws, from the given view, those that `prior` is given besides it: a cascade."""
    nearby: list[tuple[float, float]] = [(45, 0), (-45, 0), (0, 30)]
    """Azimuth and elevation of the views that `base` draws for `prior`, in degrees from the given one."""
    coarse_target: Literal["per_view", "off"] = "per_view"
    """per_view: `base` draws each new view too, as a first guess for `prior`, which doubles the work; off: it does
    not."""
    poses: list[tuple[float, float]] = []
    """Azimuth and elevation of the new views, in degrees from the first given one; default: `count` all around."""
    count: int = Field(16, ge=1, le=1000)
    """New views, evenly over a band of the sphere, where no `poses` are given."""
    elevation: tuple[float, float] = (-20, 60)
    """Lowest and highest of them, in degrees."""
    sampling_steps: int = Field(50, ge=1, le=1000)
    """Of the sampler (DDIM)."""
    guidance_scale: float = Field(3.0, ge=0)
    """Of classifier-free guidance."""
    batch: int = Field(4, ge=1)
    """Views drawn together; changes no view."""
    use: Literal["fit", "guide"] = "fit"
    """fit: new views join those that a representation is fitted to; guide: only priors look at them."""
    copies: int = Field(1, ge=1, le=100)
    """How often each given view is among those to fit: given ones are true, new ones are guesses."""


@register("stage", SynthesizeViewsConfig)
class SynthesizeViews(Stage):
    """Draws what the cascade needs first, then the new views, one per step."""

    reads = ("views",)
    writes = ("views",)

    @classmethod
    def gives_of(cls, config, given):
        return {"views": ()}  # neither depth nor normal maps

    @classmethod
    def priors_of(cls, config):
        base = [] if config.base is None else [(config.base, max(config.batch, len(config.nearby)), False)]
        return [*base, (config.prior, config.batch, False)]

    def start(self, views: ViewSet) -> int:
        config, device = self.config, self.context.device
        self.views = views
        self.prior = shared(config.prior, device)
        self.base = None if config.base is None else shared(config.base, device)
        self.given = at_size(views.train.on_white, self.prior.image_size)
        self.given_poses = rig_poses(views.train.camera)
        first = orbit_of(views.train.camera)[0]
        from_first = lambda ways: [(float(first[0]) + a, clipped(float(first[1]) + e)) for a, e in ways]
        self.near = self._cameras(from_first(config.nearby) if self.base else [])
        self.camera = self._cameras(from_first(config.poses) or self._around())
        n_near, n_new, size = len(self.near), len(self.camera), self.prior.image_size
        self.images = torch.zeros(n_near + n_new, size, size, 3, device=device)
        self.done = 0
        self.first = [0] if n_near else []  # of each batch
        self.first += range(n_near, n_near + n_new, config.batch)
        return len(self.first)

    def _around(self) -> list[tuple[float, float]]:
        azimuth, elevation = fibonacci(self.config.count, 0.0, self.config.elevation)
        return list(zip(azimuth.tolist(), elevation.tolist()))

    def _cameras(self, poses: list[tuple[float, float]]) -> Camera:
        azimuth, elevation = torch.tensor(poses).reshape(-1, 2).unbind(-1)
        return orbit(azimuth, elevation, ZERO123_DISTANCE, ZERO123_FOV, self.prior.image_size).to(self.context.device)

    # -- drawing ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, step: int) -> Mapping[str, float]:
        n_near, first = len(self.near), self.first[step]
        last = self.first[step + 1] if step + 1 < len(self.first) else len(self.images)
        if first < n_near:
            images = self._drawn(self.base, self.near, self.given, self.given_poses, range(n_near), "near")
        else:
            images = self._new(range(first - n_near, last - n_near))
        self.images[first:last] = images
        self.done = last
        for k in range(first, last):
            save_png(self.context.folder / f"{self._name(k)}.png", self.images[k].cpu())
            self.context.emit("preview", path=f"{self._name(k)}.png", name=self._name(k), step=step)
        return {"views": float(last)}

    def _new(self, chosen: range) -> Float[Tensor, "B S S 3"]:
        camera, n_near = self.camera[list(chosen)], len(self.near)
        if self.base is None:
            return self._drawn(self.prior, camera, self.given, self.given_poses, chosen, "new")
        coarse = None
        if self.config.coarse_target == "per_view":
            coarse = self._drawn(self.base, camera, self.given, self.given_poses, chosen, "coarse")
        images = torch.cat([self.given, self.images[:n_near]])
        poses = torch.cat([self.given_poses, rig_poses(self.near)])
        return self._drawn(self.prior, camera, images, poses, chosen, "refined", coarse)

    def _drawn(self, prior, camera: Camera, images: Float[Tensor, "V S S 3"], poses: Float[Tensor, "V 3"],
               numbers: range, purpose: str, coarse: Float[Tensor, "B S S 3"] | None = None) -> Tensor:
        """Samples of a prior; the noise of each depends on its number alone, not on its batch."""
        b = len(camera)
        condition = prior.condition(images.expand(b, *images.shape), poses.expand(b, *poses.shape), rig_poses(camera),
                                    **({} if coarse is None else {"coarse": coarse}))
        generators = [self.context.generator(k, purpose) for k in numbers]
        return prior.sample(condition, generators, steps=self.config.sampling_steps,
                            guidance_scale=self.config.guidance_scale)

    def _name(self, k: int) -> str:
        return f"near_{k}" if k < len(self.near) else f"view_{k - len(self.near):03d}"

    # -- results ------------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, ViewSet]:
        n_near = len(self.near)
        if self.config.use == "guide":
            every = replace(self.camera, **{name: torch.cat([getattr(self.near, name), getattr(self.camera, name)])
                                            for name in ("camera_to_world", "intrinsics")})
            names = tuple(self._name(k) for k in range(len(self.images)))
            return {"views": replace(self.views, guides=cut_out_views(every, self.images, names))}
        names = tuple(self._name(n_near + k) for k in range(len(self.camera)))
        made = cut_out_views(self.camera, self.images[n_near:], names)
        train = self.views.train
        for k in range(1, self.config.copies):
            train = joined_views(train, replace(self.views.train, names=tuple(f"{name} ({k + 1})"
                                                                             for name in self.views.train.names)))
        return {"views": replace(self.views, train=joined_views(train, enlarged(made, train.camera)))}

    def state(self) -> dict[str, Tensor]:
        return {"images": self.images[:self.done]}

    def load_state(self, state) -> None:
        self.done = len(state["images"])
        self.images[:self.done] = state["images"]


def clipped(elevation: float) -> float:
    """Not quite over the pole, where azimuth has no meaning."""
    return max(-89.0, min(89.0, elevation))


def cut_out_views(camera: Camera, images: Float[Tensor, "B H W 3"], names: tuple[str, ...]) -> Views:
    """Views with the alpha that their white background tells."""
    parts = [before_white(image.cpu()) for image in images]
    color, alpha = (torch.stack(part).to(images.device) for part in zip(*parts))
    return Views(camera, color, alpha, names)


def enlarged(views: Views, like: Camera) -> Views:
    """Views with images of another camera's size."""
    if (views.camera.height, views.camera.width) == (like.height, like.width):
        return views
    fit = lambda x: interpolate(x.permute(0, 3, 1, 2), (like.height, like.width), mode="bilinear",
                                antialias=True).permute(0, 2, 3, 1)
    alpha = fit(views.alpha)
    color = fit(views.color * views.alpha) / alpha.clamp(min=1e-4)
    return Views(views.camera.resized(like.height, like.width), color.clamp(0, 1), alpha, views.names)
