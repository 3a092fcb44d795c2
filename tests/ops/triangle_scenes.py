"""Small scenes for the triangle tests: random faces, a ball, and a camera."""
import math

import torch


def random_faces(n_faces=7, batch=2, seed=0, dtype=torch.float64, behind=True):
    """Faces of all sizes that overlap each other, with some corners behind the camera: positions, faces."""
    generator = torch.Generator().manual_seed(seed)
    n_vertices = max(3, n_faces + 2)
    w = 0.5 + torch.rand(batch, n_vertices, 1, generator=generator, dtype=torch.float64)
    if behind:
        w[:, 0] = -0.4
    ndc = torch.rand(batch, n_vertices, 3, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    ndc[..., 2] *= 0.7
    faces = torch.stack([torch.randperm(n_vertices, generator=generator)[:3] for _ in range(n_faces)]) if n_faces else (
        torch.zeros(0, 3))
    return torch.cat([ndc * w, w], -1).to(dtype), faces.to(torch.int32)


def ball(rows=12, columns=16, radius=0.45):
    """A closed sphere of latitude and longitude: vertices (V, 3), faces (F, 3), outward counter-clockwise."""
    theta = torch.linspace(0, math.pi, rows + 1, dtype=torch.float64)[1:-1, None]
    phi = torch.arange(columns, dtype=torch.float64)[None] * (2 * math.pi / columns)
    ring = torch.stack([theta.sin() * phi.sin(), theta.cos() + 0 * phi, theta.sin() * phi.cos()], -1).reshape(-1, 3)
    poles = torch.tensor([[0.0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    north, south = len(ring), len(ring) + 1
    k = torch.arange(columns)
    following = (k + 1) % columns
    last = (rows - 2) * columns
    faces = [torch.stack([torch.full_like(k, north), k, following], 1),
             torch.stack([torch.full_like(k, south), last + following, last + k], 1)]
    for r in range(rows - 2):
        a, b = r * columns + k, r * columns + following
        faces += [torch.stack([a, a + columns, b], 1), torch.stack([b, a + columns, b + columns], 1)]
    return torch.cat([ring, poles]) * radius, torch.cat(faces).to(torch.int32)


def projection(fov=30.0, near=0.1, far=10.0, dtype=torch.float64):
    """OpenGL projection (4, 4), with y pointing down so that row 0 of an image is its top."""
    f = 1 / math.tan(math.radians(fov) / 2)
    depth = [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)]
    rows = [[f, 0, 0, 0], [0, -f, 0, 0], depth, [0, 0, -1, 0]]
    return torch.tensor(rows, dtype=dtype)


def look(azimuth=30.0, elevation=20.0, distance=2.6, dtype=torch.float64):
    """World to camera (4, 4) of a camera that looks at the origin; +Y up, azimuth 0 sees the front (+Z)."""
    a, e = math.radians(azimuth), math.radians(elevation)
    back = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)], dtype=dtype)
    right = torch.tensor([math.cos(a), 0.0, -math.sin(a)], dtype=dtype)
    up = torch.linalg.cross(back, right)
    view = torch.eye(4, dtype=dtype)
    view[:3, :3] = torch.stack([right, up, back])
    view[2, 3] = -distance
    return view


def to_clip(vertices, matrix):
    """Vertices (V, 3) through a (4, 4) matrix to clip space (1, V, 4)."""
    return (torch.cat([vertices, torch.ones_like(vertices[:, :1])], 1) @ matrix.T)[None]
