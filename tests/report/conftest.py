"""A run folder as a run leaves it: small, quick to make, with names that would break a careless page."""
import json

import numpy as np
import pytest
from PIL import Image

RED, BLUE = (208, 44, 38), (38, 60, 190)


def draw(path, color, size=64):
    """A white picture with a rectangle of one colour."""
    picture = np.full((size, size, 3), 255, np.uint8)
    picture[16:48, 20:44] = color
    Image.fromarray(picture).save(path)


def write_glb(path):
    """A box whose texture is red on the left and blue on the right."""
    import trimesh

    box = trimesh.creation.box((1.0, 0.8, 0.6))
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:, :4], texture[:, 4:] = RED, BLUE
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture))
    uv = np.stack([np.where(box.vertices[:, 0] < 0, 0.1, 0.9), np.full(len(box.vertices), 0.5)], -1)
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    path.write_bytes(box.export(file_type="glb"))


def events():
    """A run that was killed in its second stage at step 2, and continued 1000 seconds later from step 1."""
    yield {"time": 100.0, "kind": "run_started", "name": "demo"}
    yield {"time": 101.0, "kind": "stage_started", "stage": "fit"}
    for step in range(3):
        yield {"time": 102.0 + step, "kind": "step", "stage": "fit", "step": step, "n_steps": 3,
               "metrics": {"photometric": 10.0 ** -step}}
    yield {"time": 105.0, "kind": "stage_finished", "stage": "fit"}
    yield {"time": 105.0, "kind": "stage_started", "stage": "judge"}
    for step in range(2):
        yield {"time": 106.0 + step, "kind": "step", "stage": "judge", "step": step, "metrics": {"psnr": 20.0 + step}}
    yield {"time": 1107.0, "kind": "resumed", "name": "demo"}
    yield {"time": 1107.5, "kind": "warning", "stage": "judge", "text": "3 < 4 & nothing <script>broke</script>"}
    yield {"time": 1108.0, "kind": "preview", "stage": "judge", "path": "stages/02-judge/view_001_render.png",
           "name": "left.png", "step": 1}
    yield {"time": 1108.0, "kind": "step", "stage": "judge", "step": 1, "metrics": {"psnr": 30.0, "bad": "nan"}}
    for name in ("gone.glb", "asset.txt", "asset.glb"):
        yield {"time": 1108.0, "kind": "file", "stage": "judge", "path": f"result/{name}"}
    yield {"time": 1109.0, "kind": "stage_finished", "stage": "judge"}
    yield {"time": 1109.0, "kind": "run_finished"}


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "a <b> & c"
    fit, judge, result = folder / "stages/01-fit", folder / "stages/02-judge", folder / "result"
    for place in (fit, judge, result):
        place.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: demo\n# </script><script>alert(1)</script>\nstage: []\n")
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events()))
    (result / "metrics.json").write_text(json.dumps({"judge": {"psnr": 25.0, "faces": 12, "test_views": 2}}))
    (result / "manifest.json").write_text(json.dumps({"seed": 0, "note": "</script>"}))
    write_glb(result / "asset.glb")
    draw(fit / "half_way.png", BLUE)
    for index in range(2):
        draw(judge / f"view_{index:03d}_photo.png", RED)
        draw(judge / f"view_{index:03d}_render.png", RED if index else BLUE)
    for index in range(12):
        draw(judge / f"turntable_{index:03d}.png", RED if index < 6 else BLUE)
    return folder
