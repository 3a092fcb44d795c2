"""What a metric is given and returns. Letters in shapes: B views, H rows, W columns, P and Q surface points."""
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from asset3d.registry import Config


@dataclass(frozen=True)
class Surface:
    """Points on a surface, as seen by cameras, with unit normals toward them."""

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]


@dataclass(frozen=True)
class Comparison:
    """A result beside the truth: pictures, surfaces, or both.

    Colours are sRGB over white, so that a wrong outline costs in them too.
    """

    color: Float[Tensor, "B H W 3"] | None = None
    alpha: Float[Tensor, "B H W 1"] | None = None
    target_color: Float[Tensor, "B H W 3"] | None = None
    target_alpha: Float[Tensor, "B H W 1"] | None = None
    surface: Surface | None = None
    target_surface: Surface | None = None


class Metric(ABC):
    """One or several numbers about a comparison; empty when what it needs is not there."""

    def __init__(self, config: Config):
        self.config = config

    @abstractmethod
    def __call__(self, comparison: Comparison) -> Mapping[str, float]:
        """Named numbers."""
