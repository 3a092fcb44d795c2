"""Views as files: a folder that any program for posed photos reads, and one picture of them all."""
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field

from asset3d.registry import FileName, register
from asset3d.scene.image import encode_png
from asset3d.scene.view_files import write_split
from asset3d.scene.views import ViewSet
from asset3d.stage.base import Stage, StageConfig
from asset3d.workspace import atomic_folder, atomic_write


class SaveViewsConfig(StageConfig):
    type: Literal["save_views"] = "save_views"
    folder: FileName = "views"
    """Name of the folder in the result, with RGBA images and transforms_train.json."""
    columns: int = Field(6, ge=1, le=100)
    """Of the picture of all views, which is named as the folder."""


@register("stage", SaveViewsConfig)
class SaveViews(Stage):
    """Writes the views, given ones and new ones, with their cameras; takes no steps."""

    reads = ("views",)

    def start(self, views: ViewSet) -> int:
        self.views = views.train.to("cpu")
        return 0

    def step(self, step: int) -> Mapping[str, float]:
        raise RuntimeError("save_views takes no steps")

    def finish(self) -> Mapping[str, Any]:
        views, folder = self.views, self.context.result / self.config.folder
        with atomic_folder(folder) as unfinished:
            write_split(unfinished, "train", views.camera, views.color, views.alpha)
        sheet = folder.with_suffix(".png")
        atomic_write(sheet, encode_png(contact_sheet(views.on_white, self.config.columns)))
        for path in (sheet, folder / "transforms_train.json"):
            self.context.emit("file", path=path)
        return {}


def contact_sheet(images: torch.Tensor, columns: int) -> torch.Tensor:
    """Images (B, H, W, 3) in rows of so many, on white."""
    b, h, w, _ = images.shape
    rows = -(-b // columns)
    padded = torch.cat([images, images.new_ones(rows * columns - b, h, w, 3)])
    return padded.reshape(rows, columns, h, w, 3).transpose(1, 2).reshape(rows * h, columns * w, 3)
