"""The last stage of a reconstruction: the asset as files, where the input cameras saw it."""
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from asset3d.errors import InputError
from asset3d.exporter.base import checked, checked_splats
from asset3d.registry import Config, FileName, OneOf, component, register
from asset3d.scene.detail_levels import detail_level
from asset3d.scene.mesh import Mesh
from asset3d.scene.splats import Splats
from asset3d.scene.views import Frame, ViewSet
from asset3d.stage.base import Stage, StageConfig


class ExportConfig(StageConfig):
    """Files of the asset, in the run's result folder."""

    type: Literal["export"] = "export"
    exporter: list[Annotated[Config, OneOf("exporter")]] = Field([{"type": "gltf"}], min_length=1, max_length=16)
    """Formats to write, each once."""
    file: FileName = "asset"
    """Name of the files, without an ending."""
    levels_of_detail: int = Field(0, ge=0, le=8)
    """Coarser versions beside the full one, as files of their own: asset_lod1 has half of the faces and half of the
    texture's side, asset_lod2 a quarter, and so on. Splats have none."""
    restore_frame: bool = True
    """Put the asset where the input cameras saw it, in their scale; else it stays in the unit cube around 0. A world
    with +Z up is turned to +Y up, as glTF has it; importers of programs with +Z up turn it back to where it was."""
    canonical: bool = False
    """Put the centre of the asset's box in 0 and make its longest side 1, wherever the cameras saw it."""

    @field_validator("exporter")
    @classmethod
    def _each_once(cls, exporters: list[Config]) -> list[Config]:
        twice = [config.type for k, config in enumerate(exporters) if config.type in {c.type for c in exporters[:k]}]
        if twice:
            raise ValueError(f"'{twice[0]}' is there twice: the second would overwrite the files of the first")
        return exporters


@register("stage", ExportConfig)
class Export(Stage):
    """Writes result/asset.*; one step per level of detail."""

    reads = ("asset",)
    reads_if_there = ("views",)

    def start(self, asset: Mesh | Splats, views: ViewSet | None = None) -> int:
        self._check_takes(asset)
        frame = views.frame if views is not None and self.config.restore_frame else Frame()
        if self.config.canonical:
            frame = canonical_frame(asset.means if isinstance(asset, Splats) else asset.vertices)
            self.context.emit("manifest", frame=asdict(frame))
        if isinstance(asset, Splats):
            self.asset = placed_splats(checked_splats(asset), frame)
        else:
            inside = checked(asset)
            self.asset = replace(inside, vertices=frame.placed(inside.vertices.double()).float())
        return 1 + self.config.levels_of_detail

    def _check_takes(self, asset: Mesh | Splats) -> None:
        for config in self.config.exporter:
            takes = getattr(component("exporter", config.type), "takes", (Mesh,))
            if not isinstance(asset, takes):
                raise InputError(f"stage '{self.context.name}': exporter '{config.type}' does not write "
                                 f"{type(asset).__name__.lower()}; leave it out")
        if isinstance(asset, Splats) and self.config.levels_of_detail:
            raise InputError(f"stage '{self.context.name}': splats have no levels of detail; leave "
                             "`levels_of_detail` out")

    def step(self, step: int) -> Mapping[str, float]:
        if isinstance(self.asset, Splats):
            self._write(self.asset, self.config.file, f"{len(self.asset)} Gaussians")
            return {"gaussians": float(len(self.asset))}
        mesh = detail_level(self.asset, step)
        stem = self.config.file if step == 0 else f"{self.config.file}_lod{step}"
        self._write(mesh, stem, f"{len(mesh.faces)} faces")
        return {"faces": float(len(mesh.faces))}

    def _write(self, asset: Mesh | Splats, stem: str, what: str) -> None:
        for config in self.config.exporter:
            paths = component("exporter", config.type)(config).export(asset, self.context.result, stem)
            size = paths[0].stat().st_size / 1e6
            self.context.emit("message", text=f"{paths[0].name}: {what}, {size:.2f} MB")
            for path in paths:
                self.context.emit("file", path=path)

    def finish(self) -> Mapping[str, Any]:
        return {}


def canonical_frame(points: Float[Tensor, "N 3"]) -> Frame:
    """The frame whose `placed` puts the box of points around 0, its longest side being 1."""
    low, high = points.double().amin(0), points.double().amax(0)
    scale = 1 / float((high - low).max().clamp(min=1e-12))
    return Frame(tuple((-(low + high) / 2 * scale).tolist()), scale)


def placed_splats(splats: Splats, frame: Frame) -> Splats:
    """Splats of the inside frame in the place and scale of the input, with +Y up."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] *= frame.scale
    matrix[:3, 3] = torch.tensor(frame.center, dtype=torch.float64)
    return splats.transformed(matrix)
