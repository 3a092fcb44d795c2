"""Meshes that tests share."""
import numpy as np
import torch

from asset3d.scene.mesh import Mesh


def box(center=(0, 0, 0), size=1.0):
    """Vertices (8, 3) and faces (12, 3) of a cube, seen from outside."""
    corner = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return (corner - 0.5) * size + center, np.array(faces, np.int64)


def join(*parts):
    offsets = np.cumsum([0] + [len(v) for v, _ in parts])
    return np.concatenate([v for v, _ in parts]), np.concatenate([f + o for (_, f), o in zip(parts, offsets)])


def as_mesh(vertices, faces, **more):
    return Mesh(torch.tensor(vertices, dtype=torch.float32), torch.tensor(faces), **more)


def grid_torus(n=160, m=80, major=0.35, minor=0.1, noise=0.0):
    """A torus of 2 n m faces, optionally with noise along its normals."""
    u, v = np.meshgrid(np.arange(n) * 2 * np.pi / n, np.arange(m) * 2 * np.pi / m, indexing="ij")
    normal = np.stack([np.cos(v) * np.cos(u), np.sin(v), np.cos(v) * np.sin(u)], -1)
    ring = np.stack([np.cos(u), 0 * u, np.sin(u)], -1) * major
    radius = minor + noise * np.random.default_rng(0).standard_normal((n, m, 1))
    i, j = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    at = lambda a, b: (a % n) * m + b % m
    quad = np.stack([at(i, j), at(i, j + 1), at(i + 1, j + 1), at(i + 1, j)], -1).reshape(-1, 4)
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    return Mesh(torch.tensor((ring + radius * normal).reshape(-1, 3), dtype=torch.float32), torch.tensor(faces))


def thin_sheet(n=60, thickness=0.004):
    """A closed plate 1 x 1 x thickness."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n), indexing="ij")
    top = np.stack([x, y, 0 * x + thickness / 2], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij")
    a, b, c, d = (i * n + j).ravel(), ((i + 1) * n + j).ravel(), ((i + 1) * n + j + 1).ravel(), (i * n + j + 1).ravel()
    up = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    faces, shift = [up, up[:, ::-1] + n * n], n * n
    rim = np.concatenate([np.arange(n - 1) * n, (n - 1) * n + np.arange(n - 1), n * n - 1 - np.arange(n - 1) * n,
                          n - 1 - np.arange(n - 1)])
    after = np.roll(rim, -1)
    faces += [np.stack([after, rim, rim + shift], -1), np.stack([after, rim + shift, after + shift], -1)]
    vertices = np.concatenate([top, top * [1, 1, -1]])
    return Mesh(torch.tensor(vertices, dtype=torch.float32), torch.tensor(np.concatenate(faces)))


def lump(center, radius, n=48):
    """Vertices and faces of a sphere."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, n // 2 + 1)[1:-1], np.arange(n) * 2 * np.pi / n, indexing="ij")
    rings = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1).reshape(-1, 3)
    vertices = np.concatenate([rings, [[0, 1, 0], [0, -1, 0]]]) * radius + center
    i, j = np.meshgrid(np.arange(n // 2 - 2), np.arange(n), indexing="ij")
    at = lambda a, b: (a * n + b % n).ravel()
    faces = [np.stack([at(i, j), at(i, j + 1), at(i + 1, j + 1)], -1),
             np.stack([at(i, j), at(i + 1, j + 1), at(i + 1, j)], -1)]
    k, top, bottom = np.arange(n), len(rings), len(rings) + 1
    faces.append(np.stack([np.full(n, top), (k + 1) % n, k], -1))
    last = (n // 2 - 2) * n
    faces.append(np.stack([np.full(n, bottom), last + k, last + (k + 1) % n], -1))
    return vertices, np.concatenate(faces)
