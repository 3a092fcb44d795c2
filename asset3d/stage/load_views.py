"""The first stage of a reconstruction: posed photos, cut out, undistorted, and moved into the inside frame."""
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asset3d.registry import InputPath, register
from asset3d.scene.views import ViewSet, load_view_set, view_set_files
from asset3d.stage.base import Stage, StageConfig

MAX_NOTES = 5
"""Remarks on files that are shown one by one; a set of a thousand phone photos has a thousand alike."""


class LoadViewsConfig(StageConfig):
    """A folder of posed photos."""

    type: Literal["load_views"] = "load_views"
    views: InputPath
    """Folder with transforms.json (or transforms_train.json and transforms_test.json), or with `images` and a COLMAP
    model in `sparse/0`; or such a .json file."""
    masks: InputPath | None = None
    """Folder of masks, white where the object is; by default `masks` beside the images, when there is one."""
    cutout: Literal["auto", "masks", "alpha", "background"] = "auto"
    """What tells the object from the background: mask files, the images' alpha, a plain background, or the first of
    these that is there."""
    max_size: int | None = Field(1024, ge=16, le=16384)
    """Larger images are shrunk to this many pixels on their longer side; null keeps every pixel."""
    holdout: int = Field(0, ge=0, le=1000)
    """Where no test views are named, every so-manieth view is kept for testing; 0 keeps none."""
    fit: bool = True
    """Move and scale the world so that the object fits the unit cube; the asset is moved back on export."""


@register("stage", LoadViewsConfig)
class LoadViews(Stage):
    """Reads the view set at `views`; takes no steps."""

    writes = ("views",)

    @classmethod
    def files_of(cls, config) -> dict[str, list[Path]]:
        files = view_set_files(config.views, masks=config.masks, cutout=config.cutout)
        masks = [file for file in files if config.masks in file.parents]
        return {"views": [file for file in files if file not in masks], "masks": masks}

    def start(self) -> int:
        c = self.config
        self.views: ViewSet = load_view_set(c.views, masks=c.masks, cutout=c.cutout, max_size=c.max_size,
                                            holdout=c.holdout, fit=c.fit,
                                            between=self.context.raise_if_cancelled)
        for note in self.views.notes[:MAX_NOTES]:
            self.context.emit("message", text=note)
        if len(self.views.notes) > MAX_NOTES:
            self.context.emit("message", text=f"and {len(self.views.notes) - MAX_NOTES} more remarks of this kind")
        self.context.emit("message", text=self._summary())
        return 0

    def step(self, step: int) -> Mapping[str, float]:
        raise RuntimeError("load_views takes no steps")

    def finish(self) -> Mapping[str, Any]:
        self.context.emit("manifest", frame=asdict(self.views.frame))
        return {"views": self.views.to(self.context.device)}

    def _summary(self) -> str:
        train, test, frame = self.views.train, self.views.test, self.views.frame
        center = ", ".join(f"{c:.4g}" for c in frame.center)
        return (f"{len(train)} views to fit and {len(test) if test else 0} to judge by, {train.camera.width} x "
                f"{train.camera.height}; the object is at ({center}) and {frame.scale:.4g} large")
