"""Charts lie beside each other, keep their distance and their shape, and a hard mesh does not hang."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_shapes import grid_torus, thin_sheet

from asset3d.errors import InputError
from asset3d.scene.axis_charts import axis_charts
from asset3d.scene.charts import Charts, overlaps, peel_overlaps, signed_areas
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import face_normals
from asset3d.scene.unwrap import unwrap


def charts_of(mesh):
    return Charts(np.arange(len(mesh.uvs)), mesh.faces.numpy(), mesh.uvs.double().numpy())


def label_image(mesh, size):
    """(size, size) chart at each texel centre, -1 outside, and how many texels are covered twice."""
    uv, labels = mesh.uvs.double().numpy()[mesh.faces.numpy()] * size, charts_of(mesh).labels()
    image, twice = np.full((size, size), -1), 0
    for corner, label in zip(uv, labels):
        low, high = np.floor(corner.min(0)).astype(int), np.ceil(corner.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        edges = [((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) for a, b in
                 zip(corner, np.roll(corner, -1, axis=0))]
        inside = np.all([e > 1e-6 for e in edges], axis=0) | np.all([e < -1e-6 for e in edges], axis=0)
        part = image[low[1]:high[1], low[0]:high[0]]
        twice += int((part[inside] >= 0).sum())
        part[inside] = label
    return image, twice


def least_distance(image):
    """Texels between the two nearest charts."""
    from scipy.ndimage import distance_transform_edt
    nearest = np.inf
    for label in range(image.max() + 1):
        others = (image >= 0) & (image != label)
        if others.any() and (image == label).any():
            nearest = min(nearest, distance_transform_edt(~others)[image == label].min())
    return nearest


@pytest.mark.parametrize("face_limit, method", [(200_000, "xatlas"), (0, "axes")])
@pytest.mark.parametrize("make", [lambda: grid_torus(40, 20), lambda: thin_sheet(20)], ids=["torus", "sheet"])
def test_layout(make, face_limit, method):
    mesh = make()
    messages = []
    out, report = unwrap(mesh, 256, 4, face_limit, progress=lambda fraction, text: messages.append((fraction, text)))
    assert report.method == method and report.padding == 4
    assert [f for f, _ in messages] == sorted(f for f, _ in messages) and messages[-1][0] == 1
    assert torch.equal(out.vertices[out.faces], mesh.vertices[mesh.faces])
    assert 0 <= out.uvs.min() and out.uvs.max() <= 1
    image, twice = label_image(out, 256)
    assert twice == 0
    assert least_distance(image) >= 4
    assert report.utilization > 0.35
    area = np.abs(signed_areas(out.uvs.double().numpy(), out.faces.numpy())) * (256 / report.texels_per_unit) ** 2
    stretch = area / face_normals(mesh.vertices.double().numpy(), mesh.faces.numpy())[1]
    assert np.median(stretch) == pytest.approx(1, abs=0.15) and stretch.min() > 0.2 and stretch.max() < 5


def test_overlaps_and_peeling():
    """A square strip folded back over itself lies twice on half of its length."""
    x = np.array([0, 1, 2, 3, 2.1, 1.1])
    position = np.concatenate([np.stack([x, 0 * x], -1), np.stack([x, 0 * x + 1], -1)])
    quads = np.array([(i, i + 1, i + 7, i + 6) for i in range(5)])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    charts = Charts(np.arange(12), faces, position)
    assert len(overlaps(position[faces], faces, charts.labels())[0]) > 0
    peeled = peel_overlaps(charts)
    assert len(overlaps(peeled.position[peeled.faces], peeled.faces, peeled.labels())[0]) == 0
    assert np.allclose(peeled.position[peeled.faces], position[faces])
    assert 2 <= peeled.labels().max() + 1 <= 6


def test_axis_charts_of_a_spiral_do_not_cover_each_other():
    turns, n = 3, 180
    angle = np.linspace(0, 2 * np.pi * turns, n)
    inner, outer = (np.stack([r * np.cos(angle), 0.1 * angle, r * np.sin(angle)], -1) for r in (0.3, 1.0))
    i = np.arange(n - 1)
    faces = np.concatenate([np.stack([i, i + 1, i + n], -1), np.stack([i + 1, i + 1 + n, i + n], -1)])
    charts = peel_overlaps(axis_charts(np.concatenate([inner, outer]), faces))
    assert len(overlaps(charts.position[charts.faces], charts.faces, charts.labels())[0]) == 0
    assert turns <= charts.labels().max() + 1 <= 12


def test_triangle_soup_falls_back_by_count():
    generator = np.random.default_rng(0)
    corner = generator.uniform(-0.5, 0.5, (600, 1, 3)) + 0.02 * generator.standard_normal((600, 3, 3))
    soup = Mesh(torch.tensor(corner.reshape(-1, 3)), torch.arange(1800).reshape(-1, 3))
    out, report = unwrap(soup, 512, 2, chart_limit=500)
    assert report.method == "axes" and report.charts == 600
    assert label_image(out, 512)[1] == 0
    with pytest.raises(InputError, match="600 charts do not fit a texture of 16 x 16"):
        unwrap(soup, 16, 0)


def test_large_mesh_goes_in_blocks(monkeypatch):
    monkeypatch.setattr("asset3d.scene.unwrap.BLOCK", 2000)
    messages = []
    out, report = unwrap(grid_torus(64, 32), 512, progress=lambda fraction, text: messages.append(text))
    assert sum("block" in m for m in messages) == 4 and report.method == "xatlas"
    assert label_image(out, 512)[1] == 0


def test_same_bytes_in_another_process():
    code = ("from mesh_shapes import grid_torus; from asset3d.scene.unwrap import unwrap; import hashlib;"
            "m = unwrap(grid_torus(40, 20), 256)[0];"
            "print(hashlib.sha256(m.uvs.numpy().tobytes() + m.faces.numpy().tobytes()).hexdigest())")
    tests = Path(__file__).parents[1]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tests,
                           env={**os.environ, "PYTHONPATH": str(tests.parent)}).stdout.strip()
    mesh = unwrap(grid_torus(40, 20), 256)[0]
    assert hashlib.sha256(mesh.uvs.numpy().tobytes() + mesh.faces.numpy().tobytes()).hexdigest() == other
