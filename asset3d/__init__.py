"""asset3d: one image, a few images, or posed photos in; a game-ready textured 3D asset out.

The names below are the public API; each is imported when it is first used, so that `import asset3d` costs nothing.
"""
import importlib
import os
from typing import TYPE_CHECKING, Any

# OpenMP threads spin for milliseconds at the end of every loop. Where another program has one of the cores, loops over
# small images then take twenty times as long: after about 0.1 ms a thread should sleep. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Large temporary tensors come from the system and go back to it in every step; in pages of 2 MB instead of 4 kB that
# costs a third of the time of a step less where 10 000 rays are rendered. Read when torch first allocates; Linux only.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from asset3d._run import Result as Result
    from asset3d._run import Run as Run
    from asset3d._run import State as State
    from asset3d.errors import Asset3DError as Asset3DError
    from asset3d.errors import Cancelled as Cancelled
    from asset3d.errors import CheckpointError as CheckpointError
    from asset3d.errors import Diverged as Diverged
    from asset3d.errors import EmptySurface as EmptySurface
    from asset3d.errors import InputError as InputError
    from asset3d.errors import MissingDependency as MissingDependency
    from asset3d.errors import RecipeError as RecipeError
    from asset3d.ops._check import check_values as check_values
    from asset3d.recipe import Recipe as Recipe
    from asset3d.recipe import load as load_recipe
    from asset3d.registry import Config as Config
    from asset3d.registry import FileName as FileName
    from asset3d.registry import InputPath as InputPath
    from asset3d.registry import OneOf as OneOf
    from asset3d.registry import register as register
    from asset3d.scene.camera import Camera as Camera
    from asset3d.scene.camera import orbit as orbit
    from asset3d.scene.material import Material as Material
    from asset3d.scene.mesh import Mesh as Mesh
    from asset3d.scene.views import Views as Views
    from asset3d.scene.views import ViewSet as ViewSet
    from asset3d.schedule import Schedule as Schedule
    from asset3d.schedule import Values as Values
    from asset3d.stage.base import Context as Context
    from asset3d.stage.base import Stage as Stage
    from asset3d.stage.base import StageConfig as StageConfig

_HOME = {
    "_run": ("Result", "Run", "State"),
    "errors": ("Asset3DError", "Cancelled", "CheckpointError", "Diverged", "EmptySurface", "InputError",
               "MissingDependency", "RecipeError"),
    "ops._check": ("check_values",),
    "recipe": ("Recipe", "load_recipe"),
    "registry": ("Config", "FileName", "InputPath", "OneOf", "register"),
    "scene.camera": ("Camera", "orbit"),
    "scene.material": ("Material",),
    "scene.mesh": ("Mesh",),
    "scene.views": ("Views", "ViewSet"),
    "schedule": ("Schedule", "Values"),
    "stage.base": ("Context", "Stage", "StageConfig"),
}
_MODULE_OF = {name: f"asset3d.{module}" for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'asset3d' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULE_OF[name]), "load" if name == "load_recipe" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
