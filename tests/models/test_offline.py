"""No network is asked for a model that is on this machine: an audit hook refuses names and connections."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from asset3d.scene.image import save_png

ROOT = Path(__file__).resolve().parents[2]
HOOK = """
import sys

def refuse(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"):
        raise SystemExit(f"a network was asked: {event} {given}")

sys.addaudithook(refuse)
"""
LOAD_ALL = HOOK + """
import torch
from asset3d import models, registry
from asset3d.models.__main__ import main

main(["list"])
for name in [*models.embedded(), *models.fetched()]:
    prior = models.card_of(models.folder_of(name)).get("prior")
    if prior is not None:
        registry.component("prior", prior).load(name)
        print("loaded", name)
from asset3d.prior.zero123 import Zero123
prior = Zero123.load("tiny")
given = torch.tensor([[[10.0, 20.0, 1.8]]])
condition = prior.condition(torch.rand(1, 1, 32, 32, 3), given, torch.tensor([[100.0, -15.0, 2.0]]))
print("drawn", tuple(prior.sample(condition, torch.Generator().manual_seed(0), steps=2).shape))
"""

RUN = HOOK + """
from asset3d.run import main
sys.exit(main(sys.argv[1:]))
"""
SMALL = {"novel_views": ["count=2", "new.sampling_steps=2"],
         "zero123": ["prepare.size=64", "field.steps=4", "field.rays=128", "field.camera.count=1",
                     "field.camera.size=32", "to_mesh.resolution=32", "texture.steps=1", "texture.faces=300",
                     "texture.texture_size=64", "evaluate.turntable_frames=0"]}


@pytest.mark.parametrize("recipe", SMALL)
def test_recipes_with_embedded_models_ask_no_network(recipe, tmp_path):
    view = tiny_models.given_view(160)
    save_png(tmp_path / "disk.png", view.color[0], view.alpha[0])
    settings = [f"image={tmp_path / 'disk.png'}", f"output={tmp_path / 'run'}", *SMALL[recipe]]
    done = subprocess.run([sys.executable, "-c", RUN, recipe, *settings], check=False, text=True, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert any((tmp_path / "run" / "result").glob("*.png" if recipe == "novel_views" else "*.glb"))


def test_models_on_this_machine_ask_no_network(tmp_path):
    tiny_models.zero123().save(tmp_path / "tiny")
    (tmp_path / "tiny" / "card.json").write_text('{"prior": "zero123", "licence": "CC0-1.0"}')
    environment = {**os.environ, "ASSET3D_MODELS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LOAD_ALL], check=False, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert "loaded tiny\n" in done.stdout and "drawn (1, 32, 32, 3)" in done.stdout


def test_the_hook_sees_a_network():
    code = HOOK + "import socket\nsocket.getaddrinfo('example.org', 80)"
    done = subprocess.run([sys.executable, "-c", code], check=False, text=True, capture_output=True)
    assert done.returncode == 1 and "a network was asked: socket.getaddrinfo" in done.stderr
