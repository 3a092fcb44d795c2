"""Distances between surfaces, over the parts that cameras see. Letters in shapes: V vertices, F faces, P points."""
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from asset3d.metric.base import Comparison, Metric, Surface
from asset3d.registry import Config, register
from asset3d.scene.camera import Camera

MOST_POINTS = 60000
"""Points drawn from each surface before distances are taken."""


def visible_surface(
    vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"], camera: Camera, stride: int = 2
) -> Surface:
    """The points that the cameras see through every `stride`-th pixel centre, row by row, view by view.

    Geometry behind the front is not compared: the inside of a bottle is neither right nor wrong in its photos.
    """
    from asset3d.ops.triangle import rasterize

    corners = vertices[faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.nn.functional.normalize(normals, dim=-1)
    faces32 = faces.to(torch.int32).contiguous()
    points, facing = [], []
    for view in range(len(camera)):
        one = camera[view]
        rast, _ = rasterize(one.clip_positions(vertices), faces32, (one.height, one.width))
        seen = rast[0, ::stride, ::stride].reshape(-1, 4)
        seen = seen[seen[:, 3] > 0]
        triangle = seen[:, 3].long() - 1
        weight = torch.stack([seen[:, 0], seen[:, 1], 1 - seen[:, 0] - seen[:, 1]], -1)
        point = (weight[..., None] * corners[triangle]).sum(1)
        normal = normals[triangle]
        away = (normal * (point - one.position)).sum(-1, keepdim=True) > 0
        points.append(point)
        facing.append(torch.where(away, -normal, normal))
    return Surface(torch.cat(points), torch.cat(facing))


def _draw(surface: Surface, seed: int) -> Surface:
    """At most MOST_POINTS of the points, the same ones at every call."""
    count = len(surface.points)
    if count <= MOST_POINTS:
        return surface
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:MOST_POINTS]
    return Surface(surface.points[chosen], surface.normals[chosen])


def compare_surfaces(result: Surface, truth: Surface, radius: float = 0.01) -> dict[str, float]:
    """Chamfer distance, F1 and normal consistency of two sampled surfaces.

    Args:
        result, truth: The surfaces, in one frame and unit.
        radius: A point closer than this to the other surface counts as right in F1.

    Returns:
        chamfer: Mean distance to the other surface, averaged over both directions; lower is better.
        f1: Harmonic mean of the shares of right points of both.
        normal_consistency: Mean cosine between a point's normal and that of the nearest true point.
        An empty result is infinitely far, with zeros for the shares.
    """
    from scipy.spatial import cKDTree

    if len(truth.points) == 0:
        raise ValueError("compare_surfaces: `truth` has no points")
    if len(result.points) == 0:
        return {"chamfer": float("inf"), "f1": 0.0, "normal_consistency": 0.0}
    result, truth = _draw(result, 0), _draw(truth, 1)
    p, q = result.points.detach().cpu().double().numpy(), truth.points.detach().cpu().double().numpy()
    to_truth, nearest = cKDTree(q).query(p)
    to_result, _ = cKDTree(p).query(q)
    precision, recall = float((to_truth < radius).mean()), float((to_result < radius).mean())
    cosine = (result.normals.cpu() * truth.normals.cpu()[torch.from_numpy(nearest)]).sum(-1).mean()
    return {
        "chamfer": float(to_truth.mean() + to_result.mean()) / 2,
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "normal_consistency": float(cosine),
    }


class ChamferConfig(Config):
    """Chamfer distance, F1 and normal consistency, where the true surface is known."""

    type: Literal["chamfer"] = "chamfer"
    radius: float = Field(0.01, gt=0)
    """Distance under which a point counts as right in F1; the object's longest side is 1."""


@register("metric", ChamferConfig)
class Chamfer(Metric):
    def __call__(self, comparison: Comparison) -> dict[str, float]:
        if comparison.surface is None or comparison.target_surface is None:
            return {}
        return compare_surfaces(comparison.surface, comparison.target_surface, self.config.radius)
