"""What a loss is: `loss(rendering, target, step) -> scalar`, multiplied by its weight by the optimize stage."""
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from asset3d.registry import Config
from asset3d.schedule import Schedule, Values, constant
from asset3d.scene.rendering import Novel, Rendering, Target
from asset3d.scene.views import Views


class LossConfig(Config):
    weight: Annotated[Schedule, Values(ge=0)] = constant(1.0)
    """Factor of this term in the sum."""


class RegularizerConfig(LossConfig):
    """Of losses that look at a rendering alone."""

    views: Literal["given", "random"] = "given"
    """Whether the renderings are those of the given views or of the stage's random `camera`."""


class Loss(nn.Module, ABC):
    """Base of all losses. A loss may have parameters of its own, which are trained with the representation."""

    needs_of_views: ClassVar[tuple[str, ...]] = ()
    """Maps that the views must have: `depth`, `normal`."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.remarks: list[str] = []
        """What the user should know once it has begun; the stage tells it."""

    @property
    def of_random_views(self) -> bool:
        """Whether it is asked about views that no photo shows, and `forward` gets a `Novel` as its target."""
        return getattr(self.config, "views", "given") == "random"

    @classmethod
    def needs_of(cls, config) -> Mapping[str, str]:
        """What the renderer must give with this config (see `Renderer.gives_of`), and what to do where it does not."""
        return {}

    def begin(self, views: Views, guides: Views | None = None) -> None:
        """Called once, before the first step, with the views that targets are taken from, and those that a prior drew
        for priors to look at."""

    @abstractmethod
    def forward(self, rendering: Rendering, target: Target | Novel, step: int) -> Float[Tensor, ""]:
        """The term, without its weight."""


def mean_over(value: Float[Tensor, "... C"], mask: Bool[Tensor, "... 1"] | None) -> Float[Tensor, ""]:
    """Mean of all numbers, or of those whose pixel is in the mask; 0 for an empty mask."""
    if mask is None:
        return value.mean()
    mask = mask.to(value.dtype)
    return (value * mask).sum() / (mask.sum() * value.shape[-1]).clamp(min=1)


def needed(rendering: Rendering, name: str, loss: str) -> Tensor:
    """A by-product that the renderer must have given.

    Raises:
        ValueError: It did not.
    """
    if name not in rendering.extras:
        raise ValueError(f"loss '{loss}' needs a renderer that gives '{name}'; this one gives "
                         f"{sorted(rendering.extras) or 'nothing'}")
    return rendering.extras[name]


def surface_mask(rendering: Rendering, target: Target) -> Bool[Tensor, "... 1"]:
    """Pixels that both sides call object."""
    mask = (target.alpha > 0.5) & (rendering.alpha.detach() > 0.5)
    return mask if target.valid is None else mask & target.valid
