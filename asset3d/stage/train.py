"""Train a network: AdamW, an average of the weights, and all that a run gives (exact resume, events, a report)."""
import json
import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from asset3d.errors import Diverged, InputError
from asset3d.registry import Config, OneOf, component, register
from asset3d.scene.image import save_png
from asset3d.stage.base import Stage, StageConfig
from asset3d.train._ranks import Ranks
from asset3d.train.base import Draw, Trainer
from asset3d.workspace import atomic_folder

FORGIVEN = 20
"""Steps with a non-finite loss that are left out before the stage gives up."""


class TrainConfig(StageConfig):
    type: Literal["train"] = "train"
    train: Annotated[Config, OneOf("train")]
    """What is trained."""
    steps: int = Field(10000, ge=1)
    batch: int = Field(16, ge=1)
    """Samples per step, of each process where several train together."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of AdamW, after the warm-up."""
    final_learning_rate: float = Field(1.0, gt=0, le=1)
    """Share of `learning_rate` that is left at the last step (cosine)."""
    warm_up: int = Field(100, ge=0)
    """Steps over which the learning rate grows from 0."""
    weight_decay: float = Field(1e-2, ge=0)
    max_gradient: float = Field(1.0, gt=0)
    """Largest norm of the gradient of all parameters; longer ones are shortened."""
    average: float = Field(0.9995, ge=0, lt=1)
    """Decay of the running average of the weights, which is what is saved; at step n at most (1 + n) / (10 + n)."""
    validate_every: int = Field(1000, ge=1)
    """Steps between pictures and numbers on held-out data."""
    tensorboard: bool = False
    """Write curves for TensorBoard into the stage's folder too."""


@register("stage", TrainConfig)
class Train(Stage):
    """Minimises the loss of a trainer; writes result/model, a folder in diffusers format with its card."""

    writes = ("model",)

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        if config.tensorboard:
            _summary_writer()

    def start(self) -> int:
        config, context = self.config, self.context
        self.ranks = Ranks(context.device)
        self.trainer: Trainer = component("train", config.train.type)(config.train)
        self.trainer.build(context.generator(0, "weights"))
        self.trainer.to(self.ranks.device)
        with self.ranks.first_alone():
            self.trainer.prepare(lambda text: context.emit("message", text=text), context.raise_if_cancelled)
        groups = self.trainer.parameter_groups()
        self.factors = [factor for factor, _ in groups]
        self.optimizer = torch.optim.AdamW([{"params": parameters} for _, parameters in groups],
                                           weight_decay=config.weight_decay, betas=(0.9, 0.99))
        self.average = {name: p.detach().clone() for name, p in self._trained().items()}
        self.failures, self.curve = 0, []
        self.board = _summary_writer()(context.folder / "tensorboard") if config.tensorboard else None
        return config.steps

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: p for name, p in self.trainer.named_parameters() if p.requires_grad}

    def _draw(self, step: int, purpose: str = "") -> Draw:
        return Draw(step, self.config.steps, self.config.batch, self.context.generator(step, purpose),
                    self.ranks.device)

    def step(self, step: int) -> dict[str, float]:
        config = self.config
        for group, factor in zip(self.optimizer.param_groups, self.factors):
            group["lr"] = self._learning_rate(step) * factor
        self.trainer.refresh(self._draw(step, "refresh"), self._with_average)
        terms = self.trainer.loss(self._draw(step, self.ranks.purpose()))
        total = self.context.tap("loss", step, sum(terms.values()))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        total = self.ranks.average(total, self._trained().values())
        length = torch.nn.utils.clip_grad_norm_(self._trained().values(), config.max_gradient)
        if math.isfinite(float(total.detach())) and math.isfinite(float(length)):
            self.optimizer.step()
            self._add_to_average(step)
        else:
            self._forgive(step)
        numbers = {name: float(value.detach()) for name, value in terms.items()}
        due = (step + 1) % config.validate_every == 0 or step + 1 == config.steps
        if due and self.ranks.number == 0:
            numbers |= self._validate(step)
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)
        return numbers

    def _learning_rate(self, step: int) -> float:
        config = self.config
        share = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        share = config.final_learning_rate + (1 - config.final_learning_rate) * share
        return config.learning_rate * share * min(1.0, (step + 1) / (config.warm_up + 1))

    def _add_to_average(self, step: int) -> None:
        decay = min(self.config.average, (1 + step) / (10 + step))
        trained = self._trained()
        torch._foreach_lerp_([self.average[name] for name in trained], [p.detach() for p in trained.values()],
                             1 - decay)

    def _forgive(self, step: int) -> None:
        self.failures += 1
        if self.failures > FORGIVEN:
            raise Diverged(f"stage '{self.context.name}': the loss or its gradient was not finite {self.failures} "
                           f"times, last at step {step}; lower `learning_rate` or `max_gradient`")

    def _with_average(self):
        return _Swapped(self._trained(), self.average)

    def _validate(self, step: int) -> dict[str, float]:
        with self._with_average(), torch.no_grad():
            self.trainer.eval()
            numbers, image = self.trainer.validate(self._draw(0, "validate"))
            self.trainer.train()
        name = f"step_{step + 1:07d}.png"
        save_png(self.context.folder / name, image.cpu())
        self.context.emit("preview", path=name, name=f"step {step + 1}", step=step)
        self.curve.append({"step": step + 1, **numbers})
        return numbers

    def finish(self) -> dict[str, object]:
        folder = self.context.result / "model"
        with atomic_folder(folder) as unfinished, self._with_average():
            card = self.trainer.save(unfinished)
            card = {**card, "steps": self.config.steps, "batch": self.config.batch, "seed": self.context.seed,
                    "curve": self.curve}
            (unfinished / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        for name, value in (self.curve[-1] if self.curve else {}).items():
            self.context.emit("metric", **{name: value})
        return {"model": folder}

    # -- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        state = {f"weight/{name}": p.detach() for name, p in self._trained().items()}
        state |= {f"buffer/{name}": value for name, value in self.trainer.named_buffers()}
        state |= {f"average/{name}": value for name, value in self.average.items()}
        for name, p in self._trained().items():
            state |= {f"adam/{key}/{name}": value for key, value in self.optimizer.state.get(p, {}).items()}
        curve = json.dumps(self.curve).encode()
        return state | {"failures": torch.tensor(self.failures), "curve": torch.tensor(list(curve), dtype=torch.uint8)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.failures = int(state["failures"])
        self.curve = json.loads(bytes(state["curve"].tolist()))
        with torch.no_grad():
            for name, p in self._trained().items():
                p.copy_(state[f"weight/{name}"])
                self.average[name].copy_(state[f"average/{name}"])
                known = {key: state[f"adam/{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                         if f"adam/{key}/{name}" in state}
                if known:
                    self.optimizer.state[p] = {key: value.to(value.device if key == "step" else p.device).clone()
                                               for key, value in known.items()}
            for name, buffer in self.trainer.named_buffers():
                buffer.copy_(state[f"buffer/{name}"])


class _Swapped:
    """The averaged weights in place of the trained ones, for a while."""

    def __init__(self, trained: Mapping[str, torch.nn.Parameter], average: Mapping[str, Tensor]):
        self.pairs = [(p, average[name]) for name, p in trained.items()]

    def __enter__(self) -> None:
        self._exchange()

    def __exit__(self, *exception) -> None:
        self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for p, other in self.pairs:
            kept = p.detach().clone()
            p.copy_(other)
            other.copy_(kept)


def _summary_writer():
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("train: `tensorboard: true` needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter
