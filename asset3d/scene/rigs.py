"""Sets of cameras that data and scores are defined by. Letters in shapes: B cameras."""
import math

import torch

from asset3d.scene.camera import Camera, orbit

ZERO123_FOV, ZERO123_DISTANCES = 49.1, (1.5, 2.2)
"""What Zero-1-to-3 was trained on: vertical field of view in degrees, nearest and farthest camera."""
ZERO123_DISTANCE = 1.85
"""The middle of those distances, where one is to be chosen."""
VIEWS_FOV, VIEWS_DISTANCE, VIEWS_ELEVATION = 30.0, 2.6, (-35.0, 75.0)
GOLDEN_ANGLE = 180 * (3 - math.sqrt(5))
"""Degrees between the azimuths of neighbours on a Fibonacci sphere."""


def fibonacci(count: int, shift: float, elevation: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Azimuths and elevations in degrees, (count,) each, evenly over a band of the sphere, from the bottom up.

    Args:
        count: Directions.
        shift: Added to every azimuth, degrees.
        elevation: Lowest and highest, degrees.
    """
    index = torch.arange(count, dtype=torch.float64)
    low, high = (math.sin(math.radians(e)) for e in elevation)
    height = low + (high - low) * (index + 0.5) / count
    return (index * GOLDEN_ANGLE + shift) % 360, torch.rad2deg(torch.arcsin(height))


def views(size: int = 256) -> tuple[Camera, Camera]:
    """48 training and 12 test cameras by which assets are scored: fov 30, distance 2.6, elevation -35…75."""
    train = fibonacci(48, 90.0, VIEWS_ELEVATION)
    test = fibonacci(12, 90.0 + math.degrees(0.7), VIEWS_ELEVATION)
    return tuple(orbit(*angles, VIEWS_DISTANCE, VIEWS_FOV, size) for angles in (train, test))


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def zero123(generator: torch.Generator, count: int = 12, size: int = 256) -> Camera:
    """Random cameras all over the sphere, distance U[1.5, 2.2], fov 49.1: training data of Zero-1-to-3."""
    azimuth = _uniform(count, 0, 360, generator)
    elevation = torch.rad2deg(torch.arcsin(_uniform(count, -1, 1, generator)))
    return orbit(azimuth, elevation, _uniform(count, *ZERO123_DISTANCES, generator), ZERO123_FOV, size)


def random_views(generator: torch.Generator, count: int = 12, size: int = 256) -> Camera:
    """Random cameras in the band of the sphere that `views` spreads its cameras over: fov 30, distance 2.6."""
    azimuth = _uniform(count, 0, 360, generator)
    low, high = (math.sin(math.radians(e)) for e in VIEWS_ELEVATION)
    elevation = torch.rad2deg(torch.arcsin(_uniform(count, low, high, generator)))
    return orbit(azimuth, elevation, VIEWS_DISTANCE, VIEWS_FOV, size)


def hifi123(generator: torch.Generator, count: int = 12, size: int = 256) -> Camera:
    """Random cameras at distance 3.8, fov 20, elevation U[-10, 60]: optimization in HiFi-123."""
    azimuth = _uniform(count, -180, 180, generator)
    return orbit(azimuth, _uniform(count, -10, 60, generator), 3.8, 20.0, size)
