"""Fit a representation to views: the heart of every recipe."""
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field

from asset3d.errors import InputError
from asset3d.registry import Config, OneOf, component, register
from asset3d.representation.base import Representation, Surroundings
from asset3d.scene.camera import orbit
from asset3d.scene.image import save_png
from asset3d.scene.mesh import Mesh
from asset3d.scene.rigs import ZERO123_DISTANCE, ZERO123_FOV
from asset3d.scene.views import ViewSet
from asset3d.stage._compatible import Fault, given_by_views, idle_faults, loss_faults, representation_faults
from asset3d.stage._fit import Fit, FitConfig
from asset3d.stage._random_views import RandomCameraConfig
from asset3d.stage.base import Stage, StageConfig

PREVIEW_SIZE = 128


class OptimizeConfig(StageConfig, FitConfig):
    type: Literal["optimize"] = "optimize"
    representation: Annotated[Config, OneOf("representation")] | None = None
    """What is fitted; default: the artifact of an earlier stage goes on."""
    renderer: Annotated[Config, OneOf("renderer")]
    """How it is rendered."""
    loss: list[Annotated[Config, OneOf("loss")]] = Field(min_length=1)
    """The terms of the sum that is minimised."""
    camera: RandomCameraConfig = RandomCameraConfig()
    """Random views, for losses that need no photo, such as guidance by a prior."""
    previews: int = Field(0, ge=0, le=1000)
    """Pictures of the representation from four sides, evenly over the steps; the last one shows the result."""


@register("stage", OptimizeConfig)
class Optimize(Stage):
    """Renders a representation, compares it with the photos, and follows the gradient, step by step."""

    reads = ("views", "representation")
    reads_if_there = ("mesh",)
    writes = ("representation",)

    @classmethod
    def reads_of(cls, config: OptimizeConfig) -> tuple[str, ...]:
        """A stage that brings its own representation needs none."""
        return ("views",) if config.representation is not None else cls.reads

    @classmethod
    def check(cls, config: OptimizeConfig) -> None:
        if config.representation is None:
            return
        made_by = component("representation", config.representation.type).made_by
        if made_by:
            raise InputError(f"stage '{config.name or config.type}': a {config.representation.type} cannot be started "
                             f"from nothing; put a stage {made_by} before and leave `representation` out")

    @classmethod
    def gives_of(cls, config: OptimizeConfig, given):
        made = config.representation and component("representation", config.representation.type).gives
        return {"representation": made or given.get("representation")}

    @classmethod
    def faults_of(cls, config: OptimizeConfig, given) -> Iterator[Fault]:
        yield from representation_faults(config.renderer, cls.gives_of(config, given)["representation"])
        yield from loss_faults(config.loss, config.renderer, given.get("views"))
        yield from idle_faults(config, component("renderer", config.renderer.type))

    @classmethod
    def priors_of(cls, config):
        count = max(config.camera.count.values)
        return [(loss.prior, count, True) for loss in config.loss if isinstance(getattr(loss, "prior", None), Config)]

    def start(self, views: ViewSet, representation: Representation | None = None, mesh: Mesh | None = None) -> int:
        config, context = self.config, self.context
        for _, why in loss_faults(config.loss, config.renderer, given_by_views(views.train)):
            raise InputError(f"stage '{context.name}': {why}")
        if config.representation is not None:
            make = component("representation", config.representation.type)
            representation = make(config.representation, context.generator(0, "initial"))
            representation.to(context.device)
            representation.surround(Surroundings(views.frame, views.points, mesh))
            representation.initialise(views.train, context.generator(0, "hull"), context.raise_if_cancelled)
            for text in representation.remarks:
                context.emit("warning", text=text)
        elif representation is None:
            raise InputError(f"stage '{context.name}': no earlier stage makes a representation; "
                             "give `representation:` here")
        renderer = component("renderer", config.renderer.type)(config.renderer)
        losses = [component("loss", loss.type)(loss) for loss in config.loss]
        self.fit = Fit(config, context, representation, renderer, losses, views.train, config.camera,
                       views.guides)
        return config.steps

    def step(self, step: int) -> dict[str, float]:
        numbers = self.fit.step(step)
        previews, steps = self.config.previews, self.config.steps
        if (step + 1) * previews // steps > step * previews // steps:
            self._show(step)
        return numbers

    @torch.no_grad()
    def _show(self, step: int) -> None:
        camera = orbit(torch.arange(0.0, 360.0, 90.0), 15, ZERO123_DISTANCE, ZERO123_FOV, PREVIEW_SIZE)
        rendering = self.fit.renderer.render(self.fit.representation, camera.to(self.context.device))
        sides = rendering.over(rendering.color.new_ones(3)).clamp(0, 1)
        name = f"step_{step + 1:06d}.png"
        save_png(self.context.folder / name, torch.cat(list(sides), 1).cpu())
        self.context.emit("preview", path=name, name=f"step {step + 1}", step=step)

    def finish(self) -> dict[str, Representation]:
        return {"representation": self.fit.representation}

    def state(self) -> dict[str, torch.Tensor]:
        return self.fit.state()

    def load_state(self, state) -> None:
        self.fit.load_state(state)
