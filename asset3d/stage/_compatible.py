"""Whether the components of a fitting stage go together: what each needs is what another gives.

Names of what is given: a representation's `sdf`, `density` or `surface`; a renderer's `images`, `sdf_gradient`, ...;
the views' `depth` and `normal`. Where a component does not say what it gives (None), nothing is complained about.
"""
from collections.abc import Collection, Iterator

from asset3d.registry import Config, component

Fault = tuple[tuple[str | int, ...], str]
"""The key of the stage that does not fit, and why."""
ONLY_FOR = {"rays": ("rays",), "images": ("views_per_step", "resolution")}
"""Fields of a fitting stage that mean something for renderers of one unit alone."""


def representation_faults(renderer: Config, gives: Collection[str] | None) -> Iterator[Fault]:
    """A renderer that needs what the representation does not give."""
    needs = getattr(component("renderer", renderer.type), "needs", None)
    if needs is not None and gives is not None and needs not in gives:
        yield ("renderer",), (f"renderer '{renderer.type}' draws representations that give '{needs}', the "
                              f"representation here gives {listed(gives)}; choose others that go together")


def loss_faults(losses: list[Config], renderer: Config, views: Collection[str] | None) -> Iterator[Fault]:
    """Losses that need what the renderer, or the views, do not give."""
    gives_of = getattr(component("renderer", renderer.type), "gives_of", None)
    rendered = gives_of(renderer) if gives_of else None
    for index, loss in enumerate(losses):
        cls = component("loss", loss.type)
        needs = cls.needs_of(loss) if hasattr(cls, "needs_of") else {}
        for name, advice in needs.items():
            if rendered is not None and name not in rendered:
                yield ("loss", index), (f"loss '{loss.type}' needs '{name}', which renderer '{renderer.type}' does "
                                        f"not give with these settings; {advice}")
        for name in getattr(cls, "needs_of_views", ()):
            if views is not None and name not in views:
                yield ("loss", index), (f"loss '{loss.type}' needs views with '{name}' maps, and these have none; "
                                        "leave it out, or load the views by a stage that gives them")


def idle_faults(config: Config, renderer: type) -> Iterator[Fault]:
    """Fields that were set and that the renderer would not look at."""
    for unit, names in ONLY_FOR.items():
        for name in names:
            is_set = getattr(config, name) != type(config).model_fields[name].default
            if is_set and getattr(renderer, "unit", unit) != unit:
                yield (name,), (f"has no effect: the renderer here is trained on {renderer.unit}, `{name}` is for "
                                f"renderers that are trained on {unit}; leave it out")


def given_by_views(views) -> tuple[str, ...]:
    """The maps that views have besides colour and alpha."""
    return tuple(name for name in ("depth", "normal") if getattr(views, name) is not None)


def listed(given: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(given)) or "nothing of the kind"
