"""Gaussian splats (Kerbl et al. 2023) that are fitted: they move, multiply, and vanish where they do not help."""
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from asset3d.errors import EmptySurface, InputError
from asset3d.registry import Config, InputPath, register
from asset3d.representation import _splat_start as start
from asset3d.representation._densify import (
    Changed, GradientRules, clone_split_prune, finite, jitter, relocate,
)
from asset3d.representation.base import Done, Representation, Rows, Surroundings
from asset3d.scene.harmonics import CONSTANT, TERMS, degree_of
from asset3d.scene.mesh import load_mesh
from asset3d.scene.splats import Splats, holds_splats, load_splats
from asset3d.scene.views import Views
from asset3d.schedule import Schedule, Values, constant

PARAMETERS = ("means", "quats", "log_scales", "logits", "constant", "higher")
FEWEST_POINTS = 100
"""With fewer sparse points on the object, Gaussians start from the visual hull."""
LOGIT_LIMIT = 1e-5
"""Opacities of a file are brought so far away from 0 and 1, where their gradient would vanish."""
INVISIBLE = 1 / 255
"""Gaussians of less opacity are never drawn."""


class GaussiansConfig(Config):
    type: Literal["gaussians"] = "gaussians"
    count: int = Field(15_000, ge=1, le=10_000_000)
    """Gaussians to start with, at most, and never more than `max_count`. Splats of a `file` are all taken, up to
    `max_count`."""
    max_count: int = Field(30_000, ge=1, le=10_000_000)
    """Gaussians at any time, at most; of a `file` with more, the most opaque are taken."""
    start: Literal["auto", "file", "mesh", "points", "depth", "hull"] = "auto"
    """Where they start: from `file`, the mesh of an earlier stage, the sparse points of a COLMAP model, depth maps, or
    the visual hull of the masks. auto: the first of these that is there."""
    file: InputPath | None = None
    """Splats (.ply, .glb) or a mesh (.glb, .obj, .ply), placed as exported assets are, to start from."""
    normalize_quats: bool = True
    """Of splats in `file`. False for a checkpoint that was trained without dividing quaternions by their length: its
    Gaussians are given unit quaternions and scales that show the same."""
    hull_resolution: int = Field(96, ge=8, le=512)
    """Cells per axis of the grid on which the visual hull is found."""
    sh_degree: Annotated[Schedule, Values(type=int, ge=0, le=3)] = constant(2)
    """Degree of the spherical harmonics, which let colours depend on the direction, over the steps."""
    initial_opacity: float = Field(0.5, gt=0, lt=1)
    """Of Gaussians that do not start from splats."""
    densify: Literal["mcmc", "gradient", "none"] = "mcmc"
    """How Gaussians are added and removed. mcmc: invisible ones go where visible ones are, and more are added there up
    to `max_count` (Kheradmand et al. 2024). gradient: those that pictures pull at are doubled or split, faint ones are
    removed (Kerbl et al. 2023)."""
    densify_every: int = Field(50, ge=1)
    """Steps between additions."""
    densify_from: int = Field(100, ge=0)
    """The first step after which Gaussians may be added."""
    densify_until: float = Field(0.7, ge=0, le=1)
    """Share of the steps after which none is added or removed any more."""
    growth: float = Field(0.1, ge=0)
    """mcmc: how many are added at once, as a share of those that are there."""
    noise: float = Field(0.0, ge=0)
    """mcmc: how far faint Gaussians are moved at random at every step; 5e5 in the paper."""
    gradient_threshold: float = Field(2e-4, gt=0)
    """gradient: least mean gradient for the place in the picture, whose half width is 1, to add a Gaussian."""
    split_scale: float = Field(0.01, gt=0)
    """gradient: larger Gaussians are split, smaller ones are doubled."""
    largest_scale: float = Field(0.2, gt=0)
    """gradient: larger Gaussians are removed."""
    least_opacity: float = Field(0.005, gt=0, lt=1)
    """Fainter Gaussians count as invisible."""
    learning_rate_means: float = Field(0.04, ge=0)
    """Factor on the learning rate for positions."""
    learning_rate_quats: float = Field(0.2, ge=0)
    """Factor for rotations."""
    learning_rate_scales: float = Field(1.0, ge=0)
    """Factor for the logarithms of scales."""
    learning_rate_opacities: float = Field(5.0, ge=0)
    """Factor for the logits of opacities."""
    learning_rate_colors: float = Field(0.5, ge=0)
    """Factor for colours."""
    learning_rate_harmonics: float = Field(0.025, ge=0)
    """Factor for what makes colours depend on the direction."""


@register("representation", GaussiansConfig)
class Gaussians(Representation):
    """Gaussians in [-0.5, 0.5]^3 with opacity and view-dependent colour."""

    gives = ("splats",)

    def __init__(self, config: GaussiansConfig, generator: torch.Generator):
        super().__init__(config)
        self.surroundings = Surroundings()
        terms = TERMS[max(config.sh_degree.values)]
        shapes = {"means": (3,), "quats": (4,), "log_scales": (3,), "logits": (), "constant": (1, 3),
                  "higher": (terms - 1, 3)}
        for name in PARAMETERS:
            setattr(self, name, nn.Parameter(torch.zeros(0, *shapes[name])))
        self.register_buffer("degree", torch.tensor(config.sh_degree(0)))
        self.register_buffer("pull", torch.zeros(0), persistent=True)
        self.register_buffer("seen", torch.zeros(0), persistent=True)

    def __len__(self) -> int:
        return len(self.means)

    def parameter_groups(self):
        config = self.config
        factors = (config.learning_rate_means, config.learning_rate_quats, config.learning_rate_scales,
                   config.learning_rate_opacities, config.learning_rate_colors, config.learning_rate_harmonics)
        for name, factor in zip(PARAMETERS, factors):
            yield name, factor, [getattr(self, name)]

    def numbers(self) -> dict[str, float]:
        return {"gaussians": float(len(self))}

    # -- the Gaussians ------------------------------------------------------------------------------------------

    def splats(self) -> Splats:
        """The Gaussians as they are now, differentiable, with the terms that are active."""
        higher = self.higher[:, :TERMS[int(self.degree)] - 1]
        return Splats(self.means, self.quats, self.log_scales.exp(), self.logits.sigmoid(),
                      torch.cat([self.constant, higher], 1))

    @torch.no_grad()
    def count_broken(self) -> int:
        """How many have a value that is not finite, or no rotation; they are never drawn."""
        return int((~finite(vars(self.splats()))).sum())

    @torch.no_grad()
    def visible(self) -> Splats:
        """A copy of those that can be seen, with unit quaternions, as an asset."""
        splats = self.splats()
        kept = splats[(splats.opacities >= INVISIBLE) & finite(vars(splats))]
        kept.quats = nn.functional.normalize(kept.quats, dim=-1)
        return kept

    def _put(self, values: dict[str, Tensor]) -> None:
        """Take other rows for all parameters."""
        for name in PARAMETERS:
            setattr(self, name, nn.Parameter(values[name].detach().contiguous()))
        count, device = len(values["means"]), values["means"].device
        self.pull, self.seen = torch.zeros(count, device=device), torch.zeros(count, device=device)

    def _values(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).detach().clone() for name in PARAMETERS}

    def load_state_dict(self, state_dict, *args, **more):
        """Any number of rows is taken."""
        if len(state_dict["means"]) != len(self):
            self._put({name: state_dict[name].to(self.degree.device, copy=True) for name in PARAMETERS})
        return super().load_state_dict(state_dict, *args, **more)

    # -- the start ----------------------------------------------------------------------------------------------

    def surround(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings

    @torch.no_grad()
    def initialise(self, views: Views, generator: torch.Generator,
                   between: Callable[[], None] = lambda: None) -> None:
        """Put Gaussians where something says that the surface is."""
        kind = self._kind_of_start(views)
        self._require(kind)
        if kind == "file" and holds_splats(self.config.file):
            splats, notes = load_splats(self.config.file, self.config.normalize_quats)
            self.remarks += [f"{self.config.file.name}: {note}" for note in notes]
            self._take(self._inside(splats).to(self.degree.device))
        else:
            self._place(views, self._cloud(kind, views, generator))

    def _kind_of_start(self, views: Views) -> str:
        there = self.surroundings
        if self.config.start != "auto":
            return self.config.start
        if self.config.file is not None:
            return "file"
        if there.mesh is not None:
            return "mesh"
        if there.points is not None and len(start.from_points(views, there.points).points) >= FEWEST_POINTS:
            return "points"
        return "depth" if views.depth is not None else "hull"

    def _require(self, kind: str) -> None:
        there = self.surroundings
        missing = {"file": self.config.file is None, "mesh": there.mesh is None, "points": there.points is None}
        if missing.get(kind):
            raise InputError(f"gaussians: `start: {kind}` needs what is not there: `file` is a key of this "
                             "representation, a mesh comes from an earlier stage, and points from a COLMAP model")

    def _cloud(self, kind: str, views: Views, generator: torch.Generator) -> start.Cloud:
        there, config = self.surroundings, self.config
        count = min(config.count, config.max_count)
        if kind == "file":
            mesh = load_mesh(config.file)
            mesh.vertices = there.frame.unplaced(mesh.vertices)
            return start.from_mesh(mesh.to(views.alpha.device), count, generator)
        if kind == "mesh":
            return start.from_mesh(there.mesh, count, generator)
        if kind == "points":
            return start.drawn(start.from_points(views, there.points), count, generator)
        if kind == "depth":
            return start.from_depth(views, count, generator)
        return start.from_hull(views, config.hull_resolution, count, generator)

    def _inside(self, splats: Splats) -> Splats:
        """Splats of a file, placed as exported ones are, in the inside frame."""
        frame, matrix = self.surroundings.frame, torch.eye(4, dtype=torch.float64)
        matrix[:3, :3] /= frame.scale
        matrix[:3, 3] = -torch.tensor(frame.center, dtype=torch.float64) / frame.scale
        return splats.transformed(matrix)

    def _take(self, splats: Splats) -> None:
        """Start from these, as far as `max_count` and `sh_degree` have room for them."""
        terms, most = 1 + self.higher.shape[1], self.config.max_count
        if len(splats) > most:
            self.remarks.append(f"of {len(splats)} Gaussians the {most} most opaque are taken; give a larger "
                                "`max_count` to take more")
            splats = splats[splats.opacities.argsort(descending=True, stable=True)[:most].sort().values]
        if splats.harmonics.shape[1] > terms:
            self.remarks.append(f"colours depend on the direction in degree {splats.degree}, of which "
                                f"{degree_of(terms)} is taken; give `sh_degree: {splats.degree}` to keep all")
        harmonics = nn.functional.pad(splats.harmonics, (0, 0, 0, max(terms - splats.harmonics.shape[1], 0)))
        self._put({"means": splats.means, "quats": splats.quats, "log_scales": splats.scales.clamp(min=1e-7).log(),
                   "logits": torch.logit(splats.opacities, LOGIT_LIMIT), "constant": harmonics[:, :1],
                   "higher": harmonics[:, 1:terms]})

    def _place(self, views: Views, cloud: start.Cloud) -> None:
        """Flat Gaussians on a surface with known normals, round ones elsewhere, as wide as their neighbours are far."""
        if not len(cloud.points):
            raise InputError("gaussians: no point to start from lies on the object; leave `start` out")
        device = views.alpha.device
        width = start.spacing(cloud.points)[:, None].expand(-1, 3).clone()
        quats = torch.tensor([1.0, 0, 0, 0], device=device).repeat(len(cloud.points), 1)
        if cloud.normals is not None:
            width[:, 2] *= start.FLAT
            quats = start.turned_to(cloud.normals)
        colors = start.colors_from_views(views, cloud) if cloud.colors is None else cloud.colors
        opacity = self.config.initial_opacity
        self._put({"means": cloud.points, "quats": quats, "log_scales": width.log(),
                   "logits": torch.full((len(quats),), math.log(opacity / (1 - opacity)), device=device),
                   "constant": ((colors - 0.5) / CONSTANT)[:, None],
                   "higher": torch.zeros(len(quats), self.higher.shape[1], 3, device=device)})

    # -- training -----------------------------------------------------------------------------------------------

    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        self.degree.fill_(self.config.sh_degree(step))

    @torch.no_grad()
    def end_step(self, done: Done) -> Rows | None:
        before, rows = len(self), self._multiplied(done)
        if not (done.step + 1) % self.config.densify_every:
            self._require_visible(before)
        return rows

    def _multiplied(self, done: Done) -> Rows | None:
        """Move, add and remove some, when it is time to."""
        config, after = self.config, done.step + 1
        growing = config.densify_from <= after <= config.densify_until * done.n_steps
        if config.densify == "none" or not growing and config.densify == "gradient":
            return None
        if config.densify == "gradient":
            self._remember_pull(done)
        elif config.noise:
            amount = config.noise * config.learning_rate_means * done.learning_rate
            self.means += jitter(self._values(), amount, config.least_opacity, done.generator)
        if not growing or after % config.densify_every:
            return None
        changed = self._densified(done.generator)
        self._put(changed.values)
        return changed.rows

    def _require_visible(self, before: int) -> None:
        """What no picture shows has no gradient either: it would stay as it is to the last step."""
        if not bool((self.logits.sigmoid() >= INVISIBLE).any()):
            raise EmptySurface(f"gaussians: none of {before} can be seen any more; lower `least_opacity` "
                               f"(now {self.config.least_opacity:g}) or the learning rate, raise `largest_scale` "
                               f"(now {self.config.largest_scale:g}), or check the masks of the views")

    def _remember_pull(self, done: Done) -> None:
        """Gradients for places in pictures whose half width is 1, of the loss of one picture."""
        means_2d, radii = done.rendering.extras["means_2d"], done.rendering.extras["radii"]
        if means_2d.grad is None:
            return
        views, height, width = done.rendering.alpha.shape[:3]
        half = means_2d.new_tensor([width / 2, height / 2])
        shown = (radii > 0).all(-1)
        self.pull += (views * (means_2d.grad * half).norm(dim=-1) * shown).sum(0).to(self.pull.dtype)
        self.seen += shown.sum(0)

    def _densified(self, generator: torch.Generator) -> Changed:
        config = self.config
        if config.densify == "mcmc":
            target = min(config.max_count, math.ceil(len(self) * (1 + config.growth)))
            return relocate(self._values(), target, config.least_opacity, generator)
        rules = GradientRules(config.gradient_threshold, config.split_scale, config.least_opacity,
                              config.largest_scale, config.max_count)
        return clone_split_prune(self._values(), self.pull / self.seen.clamp(min=1), rules, generator)
