"""Every argument of every operator, given what it should not be given: refused by name, or done right; never a crash.

The rule (docs/operators.md): wrong structure always raises; empty is valid; values that are not finite raise on the
CPU; whatever is left, however absurd, must come back without touching memory that is not its own. `make sanitize` runs
these cases under ASan and UBSan too.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
import triangle_scenes
from torch import Tensor

from asset3d.ops import attention, gaussian, hash_grid, marching_tets, triangle, volume

NAN, INF = math.nan, math.inf
REFUSALS = (ValueError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Operator:
    """A call that is right, and what is known of its tensors."""

    call: Callable
    arguments: Callable[[], dict]
    sizes: dict[str, int] = field(default_factory=dict)
    """Arguments whose last size is fixed."""
    indices: dict[str, int] = field(default_factory=dict)
    """Integer arguments, and the number of things they index."""
    optional: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    """Arguments whose dtype may differ from that of the others."""
    any_value: tuple[str, ...] = ()
    """Float arguments that may hold anything: they are copied or blended, and decide nothing, or what is absurd is left
    out."""
    half: bool = False
    """Whether half precision is right, too."""
    own_sizes: bool = False
    """Whether the last size is free, but the same for all."""
    batched: tuple[str, ...] = ()
    """Arguments that may have one dimension more."""
    constant: tuple[str, ...] = ()
    """Float arguments that have no gradient."""
    called: dict[str, str] = field(default_factory=dict)
    """What messages call an argument, where its name here is another one."""


def random(*shape, seed=0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


LEVELS = hash_grid.hash_grid_levels(3, 4, 16, 10)
GRID = marching_tets.tet_grid(3)
RESOLUTION = (9, 11)


def scene() -> tuple[Tensor, Tensor]:
    positions, faces = triangle_scenes.random_faces(5, batch=2, dtype=torch.float32)
    return positions, faces


def rasterized() -> dict[str, Tensor]:
    positions, faces = scene()
    rast, rast_db = triangle.rasterize(positions, faces, RESOLUTION)
    return dict(positions=positions, faces=faces, rast=rast, rast_db=rast_db)


def interpolate_arguments():
    r = rasterized()
    return dict(attributes=random(2, r["positions"].shape[1], 3), rast=r["rast"], faces=r["faces"],
                rast_db=r["rast_db"], diff_attributes="all")


def texture_arguments():
    return dict(tex=random(2, 8, 4, 3), uv=random(2, *RESOLUTION, 2, seed=1), uv_da=random(2, *RESOLUTION, 4, seed=2),
                filter_mode="linear-mipmap-linear")


def antialias_arguments():
    r = rasterized()
    return dict(color=random(2, *RESOLUTION, 3), rast=r["rast"], positions=r["positions"], faces=r["faces"],
                topology=triangle.face_topology(r["faces"]))


def rays() -> dict[str, Tensor]:
    directions = torch.nn.functional.normalize(random(6, 3, seed=3) - 0.5, dim=-1)
    return dict(origins=-2 * directions + 0.1 * random(6, 3), directions=directions, lower=torch.full((3,), -0.5),
                upper=torch.full((3,), 0.5))


def gaussians() -> dict[str, Tensor]:
    camera = torch.eye(4).repeat(2, 1, 1)
    camera[:, 2, 3] = torch.tensor([-2.0, -3.0])
    return dict(means=random(8, 3) - 0.5, quats=random(8, 4, seed=1) - 0.5, scales=0.02 + 0.2 * random(8, 3, seed=2),
                opacities=random(8, seed=3), world_to_camera=camera,
                intrinsics=torch.tensor([[12.0, 12.0, 5.5, 4.5]]).repeat(2, 1))


def blend(colors, background, **fields):
    return gaussian.blend_gaussians(gaussian.ProjectedGaussians(**fields), colors, RESOLUTION, background=background)


def blend_arguments() -> dict[str, Tensor]:
    with torch.no_grad():
        projected = gaussian.project_gaussians(**gaussians(), resolution=RESOLUTION)
    return dict(projected._asdict(), colors=random(8, 3, seed=4), background=random(3))


def attend(q, k, v, other_k, other_v):
    return attention.attention(q, [(k, v), (other_k, other_v)])


def attention_arguments() -> dict[str, Tensor]:
    return dict(q=random(2, 2, 5, 32), k=random(2, 2, 7, 32, seed=1), v=random(2, 2, 7, 32, seed=2),
                other_k=random(1, 2, 3, 32, seed=3), other_v=random(1, 2, 3, 32, seed=4))


CAMERA = ("world_to_camera", "intrinsics")
OPERATORS = {
    "hash_grid_encode": Operator(
        lambda x, table: hash_grid.hash_grid_encode(x, table, *LEVELS),
        lambda: dict(x=random(7, 3), table=random(LEVELS.first_rows[-1], 2)), sizes=dict(x=3), any_value=("table",)),
    "rasterize": Operator(
        lambda **given: triangle.rasterize(**given, resolution=RESOLUTION),
        lambda: dict(zip(("positions", "faces"), scene())), sizes=dict(positions=4, faces=3), indices=dict(faces=7)),
    "interpolate": Operator(
        triangle.interpolate, interpolate_arguments, sizes=dict(rast=4, faces=3, rast_db=4), indices=dict(faces=7),
        optional=("rast_db",), any_value=("attributes", "rast_db")),
    "texture": Operator(triangle.texture, texture_arguments, sizes=dict(uv=2, uv_da=4), any_value=("tex",)),
    "face_topology": Operator(
        triangle.face_topology, lambda: dict(zip(("faces", "vertices"), (scene()[1], random(7, 3)))),
        sizes=dict(faces=3), indices=dict(faces=7), optional=("vertices",), unlike=("vertices",),
        any_value=("vertices",)),
    "antialias": Operator(
        triangle.antialias, antialias_arguments, sizes=dict(rast=4, positions=4, faces=3, topology=3),
        indices=dict(faces=7, topology=15), optional=("topology",), any_value=("color",)),
    "marching_tets": Operator(
        lambda **given: marching_tets.marching_tets(**given, grid=GRID),
        lambda: dict(sdf=random(len(GRID.vertices)) - 0.5, vertices=GRID.vertices.clone()), sizes=dict(vertices=3),
        any_value=("vertices",)),
    "marching_tets_dense": Operator(marching_tets.marching_tets_dense, lambda: dict(sdf=random(4, 5, 6) - 0.5)),
    "ray_box": Operator(volume.ray_box, rays, sizes=dict(origins=3, directions=3, lower=3, upper=3)),
    "march_rays": Operator(
        lambda **given: volume.march_rays(**given, step=0.05),
        lambda: dict(rays(), occupancy=random(4, 4, 4) > 0.4, offsets=random(6)),
        sizes=dict(origins=3, directions=3, lower=3, upper=3), optional=("offsets",)),
    "composite_rays": Operator(
        volume.composite_rays, lambda: dict(alpha=random(9), values=random(9, 3), first=torch.tensor([0, 4, 4, 9])),
        indices=dict(first=10)),
    "project_gaussians": Operator(
        lambda **given: gaussian.project_gaussians(**given, resolution=RESOLUTION), gaussians, constant=CAMERA,
        sizes=dict(means=3, quats=4, scales=3, world_to_camera=4, intrinsics=4),
        any_value=("means", "quats", "scales", "opacities")),
    "rasterize_gaussians": Operator(
        lambda **given: gaussian.rasterize_gaussians(**given, resolution=RESOLUTION)[:3],
        lambda: dict(gaussians(), colors=random(8, 3, seed=4), background=random(3)), constant=CAMERA,
        sizes=dict(means=3, quats=4, scales=3, world_to_camera=4, intrinsics=4), optional=("background",),
        any_value=("means", "quats", "scales", "opacities", "colors")),
    "blend_gaussians": Operator(
        blend, blend_arguments, sizes=dict(means_2d=2, conics=3, radii=2), optional=("background",),
        any_value=("means_2d", "conics", "depths", "opacities", "radii", "colors")),
    "spherical_harmonics": Operator(
        lambda **given: gaussian.spherical_harmonics(**given, degree=1),
        lambda: dict(coefficients=random(8, 4, 3), directions=torch.nn.functional.normalize(random(8, 3), dim=-1)),
        sizes=dict(coefficients=3, directions=3), any_value=("coefficients", "directions"),
        batched=("directions",)),
    "attention": Operator(attend, attention_arguments, half=True, own_sizes=True, called=dict(
        k="sources[0] k", v="sources[0] v", other_k="sources[1] k", other_v="sources[1] v")),
}


def with_value(tensor: Tensor, value: float) -> Tensor:
    out = tensor.clone()
    out.view(-1)[out.numel() // 2] = value
    return out


REFUSED = {
    "None": lambda t: None,
    "a list": lambda t: t.tolist(),
    "a number": lambda t: 1.0,
    "one dimension more": lambda t: t[None],
    "one dimension less": lambda t: t[0],
    "complex": lambda t: t.to(torch.complex64),
    "another device": lambda t: t.to("meta"),
    "sparse": lambda t: t.to_sparse(),
}
REFUSED_FLOAT = {
    "integers": lambda t: t.to(torch.int32),
    "half precision": lambda t: t.half(),
    "NaN": lambda t: with_value(t, NAN),
    "infinite": lambda t: with_value(t, INF),
    "minus infinite": lambda t: with_value(t, -INF),
}
ABSURD = {
    "huge": lambda t: with_value(t, 3e38),
    "huge and negative": lambda t: with_value(t, -3e38),
    "denormal": lambda t: with_value(t, 1e-42),
    "all zero": torch.zeros_like,
    "all huge": lambda t: torch.full_like(t, 3e38),
    "all the same": lambda t: torch.full_like(t, 0.25),
}
SAME = {
    "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    "transposed in memory": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "a view with an offset": lambda t: torch.cat([t.reshape(-1)[:1], t.reshape(-1)])[1:].reshape(t.shape),
}


def cases():
    for name, op in OPERATORS.items():
        given = op.arguments()
        tensors = {key: value for key, value in given.items() if isinstance(value, Tensor)}
        alone = sum(t.is_floating_point() for t in tensors.values()) == 1
        for key, tensor in tensors.items():
            faults = {k: f for k, f in REFUSED.items() if k != "a list" or key not in ("lower", "upper")}
            if key in op.optional:
                del faults["None"]
            if key in op.batched:
                del faults["one dimension more"]
            if key in op.sizes:
                faults["another last size"] = lambda t: torch.cat([t, t[..., :1]], -1)
            if tensor.is_floating_point():
                faults |= {k: f for k, f in REFUSED_FLOAT.items() if k != "half precision" or not op.half}
                if op.own_sizes and key != "q":  # whose size is that of the others
                    faults["another last size"] = lambda t: torch.cat([t, t[..., :1]], -1)
                if not alone and key not in op.unlike:
                    faults["another precision"] = lambda t: t.double()
                if key in op.any_value:
                    faults = {k: f for k, f in faults.items() if k not in ("NaN", "infinite", "minus infinite")}
                for fault, spoil in ABSURD.items():
                    yield name, key, fault, spoil, "survives"
                if key in op.any_value:
                    yield name, key, "NaN", REFUSED_FLOAT["NaN"], "survives"
            elif key in op.indices:
                count = op.indices[key]
                faults["another integer type"] = lambda t: t.to(torch.int32 if t.dtype == torch.int64 else torch.int64)
                faults["floats"] = lambda t: t.float()
                faults["below the first"] = lambda t: with_value(t, -1)
                faults["behind the last"] = lambda t, n=count: with_value(t, n)
                faults["far behind the last"] = lambda t: with_value(t, torch.iinfo(t.dtype).max)
                faults["the smallest integer"] = lambda t: with_value(t, torch.iinfo(t.dtype).min)
            for fault, spoil in faults.items():
                yield name, key, fault, spoil, "refused"
            for fault, spoil in SAME.items():
                yield name, key, fault, spoil, "same"


CASES = list(cases())


def outputs(result) -> tuple[Tensor, ...]:
    return tuple(t for t in (result if isinstance(result, tuple) else (result,)) if isinstance(t, Tensor))


def backward(result, given: dict) -> None:
    """Gradients of everything, whatever they are: they must be computed without a crash."""
    leaves = [t for t in given.values() if isinstance(t, Tensor) and t.requires_grad]
    made = [t for t in outputs(result) if t.requires_grad]
    if made and leaves:
        torch.autograd.grad(made, leaves, [torch.ones_like(t) for t in made], allow_unused=True)


@pytest.mark.parametrize(("name", "key", "spoil", "expected"),
                         [pytest.param(name, key, spoil, expected, id=f"{name}-{key}-{fault}")
                          for name, key, fault, spoil, expected in CASES])
def test_fault(name, key, spoil, expected):
    op = OPERATORS[name]
    given = op.arguments()
    right = outputs(op.call(**given)) if expected == "same" else ()
    given[key] = spoil(given[key])
    if expected == "refused":
        with pytest.raises(REFUSALS) as caught:
            op.call(**given)
        assert any(text in str(caught.value) for text in (f"`{op.called.get(key, key)}`", "on meta", "meta Tensors"))
        return
    for argument, value in given.items():
        if isinstance(value, Tensor) and value.is_floating_point() and argument not in op.constant:
            value.requires_grad_()
    try:
        result = op.call(**given)
    except REFUSALS as error:  # a box that is upside down, for instance
        assert expected == "survives" and f"`{key}`" in str(error)
        return
    backward(result, given)
    for got, want in zip(outputs(result), right):
        assert torch.equal(got, want)


def test_there_are_enough_cases():
    assert len({(name, key, fault) for name, key, fault, *_ in CASES}) == len(CASES) >= 300
