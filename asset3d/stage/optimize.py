"""Fit a representation to views: the heart of every recipe."""
from typing import Annotated, Any, Literal

import torch

from asset3d.errors import InputError
from asset3d.registry import OneOf, components, register
from asset3d.representation.base import Representation
from asset3d.scene.views import ViewSet
from asset3d.stage._fit import Fit, FitConfig
from asset3d.stage.base import Stage, StageConfig

PREVIEW_EVERY = 200


class OptimizeConfig(StageConfig, FitConfig):
    type: Literal["optimize"] = "optimize"
    representation: Annotated[Any, OneOf("representation")] | None = None
    """What is fitted; default: the artifact of an earlier stage goes on."""
    renderer: Annotated[Any, OneOf("renderer")]
    """How it is rendered."""
    loss: list[Annotated[Any, OneOf("loss")]]
    """The terms of the sum that is minimised."""


@register("stage", OptimizeConfig)
class Optimize(Stage):
    reads = ("views", "representation")
    writes = ("representation",)

    @classmethod
    def reads_of(cls, config: OptimizeConfig) -> tuple[str, ...]:
        """A stage that brings its own representation needs none."""
        return ("views",) if config.representation is not None else cls.reads

    def start(self, views: ViewSet, representation: Representation | None = None) -> int:
        config, context = self.config, self.context
        if config.representation is not None:
            representation = build(config.representation, context.generator(0, "initial"))
            representation.to(context.device)
            if hasattr(representation, "initialise"):
                representation.initialise(views.train, context.generator(0, "hull"))
        elif representation is None:
            raise InputError(f"stage '{context.name}': no earlier stage makes a representation; "
                             "give `representation:` here")
        renderer = components("renderer")[config.renderer.type](config.renderer)
        losses = [components("loss")[loss.type](loss) for loss in config.loss]
        self.views = views.train
        self.fit = Fit(config, context, representation, renderer, losses, views.train)
        return config.steps

    def step(self, step: int) -> dict[str, float]:
        return self.fit.step(step)

    def finish(self) -> dict[str, Representation]:
        return {"representation": self.fit.representation}

    def state(self) -> dict[str, torch.Tensor]:
        return self.fit.state()

    def load_state(self, state) -> None:
        self.fit.load_state(state)


def build(config, generator: torch.Generator) -> Representation:
    """A new representation from its config."""
    return components("representation")[config.type](config, generator)
