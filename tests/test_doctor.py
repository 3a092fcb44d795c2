"""python -m asset3d.doctor: every topic answered, an advice for everything that is missing."""
import subprocess
import sys

from asset3d import doctor
from asset3d.ops._backend import HOMES


def test_report():
    findings = {f.topic: f for f in doctor.report()}
    assert findings["kernels"].state == "ok" and "instruction set" in findings["kernels"].text
    assert findings["torch"].state == "ok" and findings["packages"].state == "ok"
    assert {"cpu", "cuda kernels", "c++", "nvcc", "node", "chromium", "ffmpeg", "pycolmap"} <= set(findings)
    assert all(f.state in ("ok", "missing", "broken") for f in findings.values())
    assert all(f.advice for f in findings.values() if f.state != "ok"), "what to do about what is missing"


def test_what_is_offered_exists():
    """Optional packages are the backends that a recipe can ask for, and what tests compare with."""
    findings = {f.topic: f for f in doctor.report()}
    assert set(doctor.PACKAGES) == {"embreex", "skimage", "pycolmap"} and set(HOMES) <= set(findings)
    assert not {"lpips", "rembg", "tensorboard"} & set(findings)


def test_command():
    result = subprocess.run([sys.executable, "-m", "asset3d.doctor"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip().endswith("asset3d can work here.")


def test_nothing_built(monkeypatch, capsys):
    """Without the extension and the tools it still answers, and says how to get them."""
    monkeypatch.setitem(sys.modules, "asset3d._C", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.main() == 1
    text = capsys.readouterr().out
    assert "asset3d._C cannot be loaded" in text and "pip install --no-build-isolation" in text
    assert "cannot work here until these are repaired: kernels" in text
