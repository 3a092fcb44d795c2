"""The optimization loop that the stages optimize and texture share: one step, its state, and NaN roll-back."""
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from asset3d.errors import Diverged
from asset3d.loss.base import Loss
from asset3d.registry import Config
from asset3d.representation.base import Done, Representation, Rows
from asset3d.scene.rendering import Novel, Rendering, Target
from asset3d.scene.views import Views
from asset3d.schedule import Schedule, Values
from asset3d.stage._random_views import RandomCameraConfig, background_of, render_images
from asset3d.stage._sampling import ImageSampler, RaySampler
from asset3d.stage.base import Context

LOSS_FACTOR = 0.5
"""Factor on the learning rate for parameters of losses, such as exposures. A stage of 800 steps sees each of 48 views
33 times: with 0.1, exposures of 10 % were not reached, and cost 0.8 dB."""


class FitConfig(Config):
    """Fields that every fitting stage has."""

    steps: int = Field(1000, ge=1)
    """Optimization steps."""
    learning_rate: float = Field(0.01, gt=0)
    """Step size of Adam after the warm-up."""
    final_learning_rate: float = Field(0.1, gt=0, le=1)
    """Share of `learning_rate` that is left at the last step (exponential decay)."""
    warm_up: int = Field(20, ge=0)
    """Steps over which the step size grows from 0."""
    rays: int = Field(4096, ge=1)
    """Pixels per step, for renderers that are trained on rays."""
    views_per_step: int = Field(2, ge=1)
    """Views per step, for renderers that are trained on images."""
    resolution: Annotated[Schedule, Values(type=int, ge=8)] | None = None
    """Rows of the training images over the steps, for renderers that are trained on images; default: as loaded."""
    background: Literal["random", "white", "black", "grey"] = "random"
    """What both sides are compared in front of."""
    snapshot_every: int = Field(100, ge=1)
    """Steps between the states that a non-finite loss goes back to."""
    roll_backs: int = Field(4, ge=0)
    """Non-finite steps that are forgiven, each with half the step size, before the stage gives up."""


class Fit:
    """Fits a representation to views with a renderer and a sum of weighted losses."""

    def __init__(self, config: FitConfig, context: Context, representation: Representation, renderer,
                 losses: list[Loss], views: Views, random_camera: RandomCameraConfig | None = None,
                 guides: Views | None = None):
        self.random_camera = random_camera
        self.config, self.context, self.renderer = config, context, renderer
        self.representation, self.losses, self.views = representation, losses, views
        self.names = names_of(losses)
        for loss in losses:
            loss.begin(views, guides)
            for text in loss.remarks:
                context.emit("message", text=text)
        groups = self._groups()
        self.factors = [factor for _, factor, _ in groups]
        self.optimizer = torch.optim.Adam([{"params": parameters} for _, _, parameters in groups], lr=1.0,
                                          betas=(0.9, 0.99), eps=1e-15)
        self.sampler = RaySampler(views) if renderer.unit == "rays" else ImageSampler(views)
        self.slow_down, self.failures = 1.0, 0
        self.snapshot: dict[str, Tensor] = {}

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self, step: int) -> dict[str, float]:
        """One step of Adam; returns the value of every loss."""
        config, generator = self.config, self.context.generator(step)
        if step % config.snapshot_every == 0:
            self.snapshot = {name: value.clone() for name, value in self._tensors().items()}
        self.representation.begin_step(step, config.steps, generator)
        self._set_learning_rate(step)
        rendering, terms = self._terms(step, generator)
        total = sum(loss.config.weight(step) * value for loss, value in terms.values())
        self.optimizer.zero_grad(set_to_none=True)
        if total.requires_grad:  # no ray may have met the object
            total.backward()
        bad = self._non_finite(terms)
        if bad:
            self._roll_back(step, bad)
        else:
            self.optimizer.step()
            self._end_step(step, rendering)
        return {name: float(value.detach()) for name, (_, value) in terms.items()} | self.representation.numbers()

    def _groups(self) -> list[tuple[str, float, list[torch.nn.Parameter]]]:
        """(name, learning-rate factor, parameters), of the representation and of losses."""
        of_losses = [("loss", LOSS_FACTOR, list(loss.parameters())) for loss in self.losses if list(loss.parameters())]
        return [*self.representation.parameter_groups(), *of_losses]

    def _terms(self, step: int, generator: torch.Generator) -> tuple[Rendering, dict[str, tuple[Loss, Tensor]]]:
        """A rendering of this step, and all losses with their values. Views are rendered as far as losses ask."""
        renders = {False: lambda: self._render(step, generator), True: lambda: self._render_random(step)}
        asked = [random for random in renders if any(loss.of_random_views is random for loss in self.losses)]
        rendered = {random: renders[random]() for random in asked}
        terms = {name: (loss, self.context.tap(name, step, loss(*rendered[loss.of_random_views], step)))
                 for name, loss in zip(self.names, self.losses)}
        return rendered[asked[0]][0], terms

    def _render_random(self, step: int) -> tuple[Rendering, Novel]:
        generator = self.context.generator(step, "random views")
        target = self.random_camera.draw(step, generator, self.views.color.device)
        return render_images(self.renderer, self.representation, target.camera, generator), target

    def _render(self, step: int, generator: torch.Generator) -> tuple[Rendering, Target]:
        config = self.config
        background = background_of(config.background, generator).to(self.views.color.device)
        if self.renderer.unit == "rays":
            rays, target = self.sampler.draw(config.rays, background, generator)
            return self.renderer.render_rays(self.representation, rays, generator), target
        height = self.views.camera.height
        if config.resolution is not None:
            height = min(height, config.resolution(step))
        camera, target = self.sampler.draw(config.views_per_step, step, height, background,
                                           lambda round_: self.context.generator(round_, "order"))
        return self.renderer.render(self.representation, camera), target

    def _set_learning_rate(self, step: int) -> None:
        for group, factor in zip(self.optimizer.param_groups, self.factors):
            group["lr"] = self._learning_rate(step) * factor

    def _learning_rate(self, step: int) -> float:
        config = self.config
        decay = config.final_learning_rate ** (step / max(config.steps - 1, 1))
        warm = min(1.0, (step + 1) / (config.warm_up + 1))
        return config.learning_rate * decay * warm * self.slow_down

    # -- parameters that change their number of rows --------------------------------------------------------------

    def _end_step(self, step: int, rendering: Rendering) -> None:
        done = Done(step, self.config.steps, rendering, self._learning_rate(step),
                    self.context.generator(step, "end_step"))
        before = self._parameters()
        rows = self.representation.end_step(done)
        if rows is not None:
            self._adopt()
            self._move_moments(before, rows)

    def _adopt(self) -> None:
        """Let the optimizer work on the parameters that the representation has now."""
        for group, (_, _, parameters) in zip(self.optimizer.param_groups, self._groups()):
            group["params"] = parameters

    def _move_moments(self, before: list[torch.nn.Parameter], rows: Rows) -> None:
        """Adam's moments follow the rows of parameters that were replaced."""
        for old, new in zip(before, self._parameters()):
            known = self.optimizer.state.pop(old, {})
            if new is old and known:
                self.optimizer.state[old] = known
            elif known:
                self.optimizer.state[new] = {
                    key: value if key == "step" else value[rows.source] * match(rows.kept, value)
                    for key, value in known.items()}

    # -- non-finite values --------------------------------------------------------------------------------------

    def _non_finite(self, terms: Mapping[str, tuple[Loss, Tensor]]) -> str:
        """The name of the first loss, or else of a parameter's gradient, that is not finite; empty if all are."""
        for name, (_, value) in terms.items():
            if not torch.isfinite(value):
                return f"loss '{name}'"
        parameters = [*self.representation.named_parameters(),
                      *((f"{name}.{key}", p) for name, loss in zip(self.names, self.losses)
                        for key, p in loss.named_parameters())]
        for name, parameter in parameters:
            if parameter.grad is not None and not torch.isfinite(parameter.grad.sum()):
                return f"the gradient of '{name}'"
        return ""

    def _roll_back(self, step: int, what: str) -> None:
        self.failures += 1
        if self.failures > self.config.roll_backs:
            raise Diverged(f"stage '{self.context.name}', step {step}: {what} is not finite, and {self.failures - 1} "
                           f"times before; lower its learning_rate (now {self.config.learning_rate})", what, step)
        self._restore(self.snapshot)
        self.slow_down /= 2
        self.context.emit("warning", text=f"step {step}: {what} is not finite; went back to the last snapshot "
                                          f"with step size x {self.slow_down:g}")

    # -- state --------------------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers, and Adam's moments by name."""
        tensors = {f"representation.{k}": v for k, v in self.representation.state_dict().items()}
        for i, loss in enumerate(self.losses):
            tensors |= {f"loss.{i}.{k}": v for k, v in loss.state_dict().items()}
        for i, parameter in enumerate(self._parameters()):
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{i}.{key}"] = value
        return {name: value.detach() for name, value in tensors.items()}

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.representation.load_state_dict(part("representation."))
        self._adopt()  # it may have other parameters now
        for i, loss in enumerate(self.losses):
            loss.load_state_dict(part(f"loss.{i}."))
        self.optimizer.state.clear()
        for i, parameter in enumerate(self._parameters()):
            state = part(f"optimizer.{i}.")
            if state:
                # moments live with their parameter, wherever the checkpoint was read to; Adam counts on the CPU
                self.optimizer.state[parameter] = {
                    k: v.clone() if k == "step" else v.to(parameter.device, copy=True) for k, v in state.items()}

    def state(self) -> dict[str, Tensor]:
        """Everything that decides the steps to come."""
        tensors = self._tensors() | {f"snapshot.{k}": v for k, v in self.snapshot.items()}
        return tensors | {"progress": torch.tensor([self.slow_down, self.failures], dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        self._restore({k: v for k, v in state.items() if not k.startswith("snapshot.") and k != "progress"})
        self.snapshot = {k[len("snapshot."):]: v for k, v in state.items() if k.startswith("snapshot.")}
        self.slow_down, self.failures = float(state["progress"][0]), int(state["progress"][1])


def match(kept: Tensor, value: Tensor) -> Tensor:
    """1 for rows that are kept and 0 for others, with as many axes as the value."""
    return kept.to(value.dtype).reshape(-1, *[1] * (value.dim() - 1))


def names_of(losses: list[Loss]) -> list[str]:
    """The type of each loss; the second of one type is called type_2, and so on."""
    types = [loss.config.type for loss in losses]
    counts = [types[:i + 1].count(name) for i, name in enumerate(types)]
    return [name if count == 1 else f"{name}_{count}" for name, count in zip(types, counts)]
