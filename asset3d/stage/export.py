"""The last stage of a reconstruction: the asset as files, where the input cameras saw it."""
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from asset3d.exporter.base import checked
from asset3d.registry import Config, FileName, OneOf, component, register
from asset3d.scene.detail_levels import detail_level
from asset3d.scene.mesh import Mesh
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
    texture's side, asset_lod2 a quarter, and so on."""
    restore_frame: bool = True
    """Put the asset where the input cameras saw it, in their scale; else it stays in the unit cube around 0. A world
    with +Z up is turned to +Y up, as glTF has it; importers of programs with +Z up turn it back to where it was."""

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

    def start(self, asset: Mesh, views: ViewSet | None = None) -> int:
        frame = views.frame if views is not None and self.config.restore_frame else Frame()
        inside = checked(asset)
        self.asset = replace(inside, vertices=frame.placed(inside.vertices.double()).float())
        return 1 + self.config.levels_of_detail

    def step(self, step: int) -> Mapping[str, float]:
        mesh = detail_level(self.asset, step)
        stem = self.config.file if step == 0 else f"{self.config.file}_lod{step}"
        for config in self.config.exporter:
            path = component("exporter", config.type)(config).export(mesh, self.context.result, stem)[0]
            size = path.stat().st_size / 1e6
            self.context.emit("message", text=f"{path.name}: {len(mesh.faces)} faces, {size:.2f} MB")
        return {"faces": float(len(mesh.faces))}

    def finish(self) -> Mapping[str, Any]:
        return {}
