"""More views: those that a representation shows from between the given cameras (as Hi3D adds, Yang et al. 2024)."""
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from asset3d.errors import InputError
from asset3d.registry import Config, OneOf, component, register
from asset3d.renderer.splat import SplatRendererConfig
from asset3d.representation.base import Representation
from asset3d.scene.between import cameras_between
from asset3d.scene.image import save_png
from asset3d.scene.views import Views, ViewSet, joined_views
from asset3d.stage._compatible import Fault, representation_faults
from asset3d.stage.base import Stage, StageConfig

MAPS = ("color", "alpha")


class InterpolateViewsConfig(StageConfig):
    type: Literal["interpolate_views"] = "interpolate_views"
    count: int = Field(16, ge=0, le=1000)
    """Views to add."""
    order: Literal["nearest", "sequence"] = "nearest"
    """nearest: where the gaps between neighbouring cameras are widest; sequence: evenly along the given cameras, for
    those of a film."""
    renderer: Annotated[Config, OneOf("renderer")] = SplatRendererConfig()
    """How the representation is rendered."""


@register("stage", InterpolateViewsConfig)
class InterpolateViews(Stage):
    """Renders views between those that are there and adds them; one step per view. Test views stay as they are."""

    reads = ("views", "representation")
    writes = ("views",)

    @classmethod
    def gives_of(cls, config, given):
        return {"views": ()}  # neither depth nor normal maps

    @classmethod
    def faults_of(cls, config: InterpolateViewsConfig, given) -> Iterator[Fault]:
        yield from representation_faults(config.renderer, given.get("representation"))

    def start(self, views: ViewSet, representation: Representation) -> int:
        if len(views.train) < 2:
            raise InputError(f"stage '{self.context.name}': at least 2 training views are needed, there is "
                             f"{len(views.train)}")
        self.views, self.representation = views, representation
        self.renderer = component("renderer", self.config.renderer.type)(self.config.renderer)
        self.camera = cameras_between(views.train.camera, self.config.count, self.config.order)
        shape = {name: getattr(views.train, name).shape[1:] for name in MAPS}
        self.made = {name: views.train.color.new_zeros(self.config.count, *shape[name]) for name in MAPS}
        self.n_made = 0
        return self.config.count

    @torch.no_grad()
    def step(self, step: int) -> dict[str, float]:
        rendering = self.renderer.render(self.representation, self.camera[step])
        alpha = rendering.alpha.clamp(0, 1)
        color = (rendering.color / alpha.clamp(min=1e-3)).clamp(0, 1)
        for name, image in zip(MAPS, (color, alpha)):
            self.made[name][step] = image[0]
        self.n_made = step + 1
        save_png(self.context.folder / f"{self._name(step)}.png", (color * alpha + 1 - alpha)[0].cpu())
        self.context.emit("preview", path=f"{self._name(step)}.png", name=self._name(step), step=step)
        return {"covered": float((alpha > 0.5).float().mean())}

    @staticmethod
    def _name(step: int) -> str:
        return f"between_{step:03d}"

    def finish(self) -> dict[str, ViewSet]:
        names = tuple(self._name(step) for step in range(len(self.camera)))
        return {"views": replace(self.views, train=joined_views(
            self.views.train, Views(self.camera, self.made["color"], self.made["alpha"], names)))}

    def state(self) -> dict[str, Tensor]:
        return {name: value[:self.n_made] for name, value in self.made.items()}

    def load_state(self, state) -> None:
        for name, value in state.items():
            self.n_made = len(value)
            self.made[name][:self.n_made] = value
