"""Measure an asset: its renders beside photos, its surface beside the true one, and a turntable for the report."""
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from asset3d.errors import InputError
from asset3d.metric.base import Comparison, Metric, Surface
from asset3d.metric.chamfer import ChamferConfig, visible_surface
from asset3d.metric.iou import IouConfig
from asset3d.metric.psnr import PsnrConfig
from asset3d.metric.ssim import SsimConfig
from asset3d.ops.triangle import interpolate, rasterize, texture
from asset3d.registry import Config, InputPath, OneOf, component, register
from asset3d.renderer.mesh import MeshRenderer, MeshRendererConfig, is_seen, shrink
from asset3d.renderer.splat import render_splats
from asset3d.representation.textured_mesh import TexturedMesh
from asset3d.scene.camera import Camera, orbit
from asset3d.scene.image import encode_png
from asset3d.scene.mesh import Mesh
from asset3d.scene.splats import Splats
from asset3d.scene.surface_points import read_surface_points
from asset3d.scene.views import Frame, ViewSet
from asset3d.stage.base import Stage, StageConfig
from asset3d.workspace import atomic_write


class EvaluateConfig(StageConfig):
    """Renders the asset from the views kept for judging (from the others, where none were kept) and measures it."""

    type: Literal["evaluate"] = "evaluate"
    metric: list[Annotated[Config, OneOf("metric")]] = [PsnrConfig(), SsimConfig(), IouConfig(), ChamferConfig()]
    """What to measure."""
    surface: InputPath | None = None
    """Points and normals of the true surface (.npz), in the world of the view set's files and with its up axis, for the
    metrics that compare surfaces; by default the `surface_points.npz` of the view set, where it has one."""
    turntable_frames: int = Field(60, ge=0, le=720)
    """Pictures of the turning object; 0 for none."""
    turntable_size: int = Field(320, ge=32, le=4096, multiple_of=2)
    """Rows and columns of each of them."""


def true_surface(path: Path, frame: Frame) -> Surface:
    """Points and normals of a file, moved into the inside frame."""
    points, normals = read_surface_points(path)
    return Surface(frame.to_inside(points), frame.directions_to_inside(normals))


def draw_plainly(asset: Mesh, camera: Camera) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 1"]]:
    """Colour over white, and coverage: 2 x 2 samples per pixel of the bilinearly filtered texture.

    Neither outlines are smoothed nor mip-maps used, unlike in the renderer that assets are fitted with: the numbers
    are those that a ray caster without any code of ours finds.
    """
    fine = camera.resized(2 * camera.height, 2 * camera.width)
    clip = fine.clip_positions(asset.vertices)
    faces = asset.faces.int()
    rast, _ = rasterize(clip, faces, (fine.height, fine.width))
    covered = (rast[..., 3:] > 0).to(clip.dtype)
    uv, _ = interpolate(asset.uvs[None], rast, faces)
    color = texture(asset.material.base_color[None], uv, filter_mode="linear", boundary_mode="clamp")
    image = shrink(torch.cat([color * covered + 1 - covered, covered], -1), 2)
    return image[..., :3].clamp(0, 1).cpu(), image[..., 3:].cpu()


def draw_splats(asset: Splats, camera: Camera) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 1"]]:
    """Colour over white, and coverage."""
    rendering = render_splats(asset, camera)
    return rendering.over(rendering.color.new_ones(3)).clamp(0, 1).cpu(), rendering.alpha.clamp(0, 1).cpu()


@register("stage", EvaluateConfig)
class Evaluate(Stage):
    """One step per view, one per frame of the turntable, and a last one for the surfaces.

    Left in the stage's folder for the report: `view_000_photo.png` and `view_000_render.png`, on white, and
    `turntable_000.png`. The means go to metrics.json.
    """

    reads = ("views", "asset")

    def start(self, views: ViewSet, asset: Mesh | Splats) -> int:
        self.views, self.asset = views, asset
        self.judged = views.train if views.test is None else views.test
        if not (self._begin_splats() if isinstance(asset, Splats) else self._begin_mesh()):
            raise InputError(f"stage '{self.context.name}': the asset covers no pixel of the {len(self.judged)} views "
                             "to judge by; check that it lies where their cameras look")
        self.metrics: list[Metric] = [component("metric", config.type)(config) for config in self.config.metric]
        surface = self.config.surface or views.surface
        self.truth = None if surface is None else true_surface(surface, views.frame)
        self.numbers: dict[str, Tensor] = {}
        return len(self.judged) + self.config.turntable_frames + 1

    def _begin_mesh(self) -> bool:
        """Prepare to draw a mesh; returns whether any view to judge by shows it."""
        asset = self.asset
        if asset.uvs is None or asset.material is None or asset.material.base_color is None:
            raise InputError(f"stage '{self.context.name}': the asset has no texture; put a stage of type "
                             "texture before")
        self.device, self.draw = asset.vertices.device, draw_plainly
        self.counts = {"faces": len(asset.faces), "vertices": len(asset.vertices)}
        textured, renderer = TexturedMesh.of(asset), MeshRenderer(MeshRendererConfig(supersample=2))
        self.draw_turned = lambda camera: renderer.render(textured, camera)
        return is_seen(asset.vertices, asset.faces, self.judged.camera.to(self.device))

    def _begin_splats(self) -> bool:
        """The same for splats."""
        asset = self.asset
        self.device, self.draw = asset.means.device, draw_splats
        self.counts = {"gaussians": len(asset)}
        self.draw_turned = lambda camera: render_splats(asset, camera)
        with torch.no_grad():
            return any(bool((render_splats(asset, self.judged.camera[view].to(self.device)).alpha > 0.5).any())
                       for view in range(len(self.judged)))

    @torch.no_grad()
    def step(self, step: int) -> dict[str, float]:
        frame = step - len(self.judged)
        if frame < 0:
            return self._measure(step, self._compare_view(step))
        if frame < self.config.turntable_frames:
            self._draw_turned(frame)
            return {}
        return self._measure(step, self._compare_surface()) if self.truth is not None else {}

    def _measure(self, step: int, comparison: Comparison) -> dict[str, float]:
        """The numbers of one comparison, also kept by step."""
        found = {name: value for metric in self.metrics for name, value in metric(comparison).items()}
        for name, value in found.items():
            kept = self.numbers.setdefault(name, torch.full((len(self.judged) + 1,), float("nan"), dtype=torch.float64))
            kept[min(step, len(self.judged))] = value
        return found

    def _compare_view(self, index: int) -> Comparison:
        view = self.judged[index]
        valid = 1.0 if view.valid is None else view.valid.to(view.color.dtype).cpu()
        color, alpha = self.draw(self.asset, view.camera.to(self.device))
        target_alpha = view.alpha.cpu() * valid
        target = view.color.cpu() * target_alpha + 1 - target_alpha
        # what lies outside the photo is white on both sides
        color, alpha = color * valid + 1 - valid, alpha * valid
        self._save(f"view_{index:03d}_photo.png", target[0])
        self._save(f"view_{index:03d}_render.png", color[0])
        self.context.emit("preview", path=f"view_{index:03d}_render.png", name=view.names[0], step=index)
        return Comparison(color, alpha, target, target_alpha)

    def _compare_surface(self) -> Comparison:
        if isinstance(self.asset, Splats):
            return Comparison()  # they have no surface: convert them to a mesh to measure one
        camera = self.views.train.camera.to(self.device)
        return Comparison(surface=visible_surface(self.asset.vertices, self.asset.faces, camera),
                          target_surface=self.truth)

    def _draw_turned(self, frame: int) -> None:
        count, size = self.config.turntable_frames, self.config.turntable_size
        rendering = self.draw_turned(orbit(360 * frame / count, 15, 2.6, 30, size).to(self.device))
        color = rendering.over(rendering.color.new_ones(3)).clamp(0, 1)[0].cpu()
        self._save(f"turntable_{frame:03d}.png", color)

    def _save(self, name: str, color: Float[Tensor, "H W 3"]) -> None:
        atomic_write(self.context.folder / name, encode_png(color))

    def finish(self) -> dict[str, Any]:
        mean = {name: round(values[~values.isnan()].mean().item(), 6) for name, values in self.numbers.items()}
        split = "training_views" if self.views.test is None else "test_views"
        self.context.emit("metric", **mean, **self.counts, **{split: len(self.judged)})
        return {}

    def state(self) -> dict[str, Tensor]:
        return {f"number.{name}": values.clone() for name, values in self.numbers.items()}

    def load_state(self, state) -> None:
        self.numbers = {key.removeprefix("number."): value.clone() for key, value in state.items()}
