"""Fetching, from a small hub on this machine: checksums, what is left out, interruptions, and one clear error each."""
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ldm_layout
import pytest
from published_networks import networks

from asset3d import models
from asset3d.errors import InputError
from asset3d.models import catalog, policy
from asset3d.models.__main__ import main
from asset3d.models.fetch import fetch

FOLDER = {"unet/config.json": b"{}", "unet/diffusion_pytorch_model.safetensors": b"weights" * 1000,
          "unet/diffusion_pytorch_model.fp16.safetensors": b"half", "unet/diffusion_pytorch_model.bin": b"pickle",
          "vae/config.json": b"{}", "vae/diffusion_pytorch_model.safetensors": b"vae", "model_index.json": b"{}",
          "text_encoder/config.json": b"{}", "text_encoder/model.safetensors": b"text", "tokenizer/vocab.json": b"{}",
          "tokenizer/merges.txt": b"", "scheduler/scheduler_config.json": b"{}",
          "safety_checker/model.safetensors": b"no", "v1-5-pruned.safetensors": b"all of it"}
WANTED = {"unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "model_index.json",
          "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
          "tokenizer/vocab.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json"}


class Hub:
    """Repositories by name, served as the Hugging Face hub does."""

    def __init__(self):
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.break_off, self.status, self.wrong_hash = None, None, False

    def listing(self, repository: str) -> bytes:
        def entry(path, content):
            large = path.endswith((".safetensors", ".ckpt", ".bin"))
            digest = "0" * 64 if self.wrong_hash else hashlib.sha256(content).hexdigest()
            return {"type": "file", "path": path, "size": len(content)} | ({"lfs": {"oid": digest}} if large else {})

        entries = [entry(path, content) for path, content in self.files[repository].items()]
        return json.dumps([*entries, {"type": "directory", "path": "unet", "size": 0}]).encode()

    def answer(self, path: str, start: int) -> tuple[int, bytes]:
        if self.status:
            return self.status, b""
        for repository, files in self.files.items():
            if path == f"/api/models/{repository}/tree/main?recursive=true":
                return 200, self.listing(repository)
            name = path.removeprefix(f"/{repository}/resolve/main/")
            if name in files:
                return 206 if start else 200, files[name][start:]
        return 404, b""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, and an empty home of models."""
    monkeypatch.setenv("ASSET3D_MODELS", str(tmp_path / "home"))
    monkeypatch.delenv(policy.VARIABLE, raising=False)
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            made.asked.append((self.path, asked))
            status, content = made.answer(self.path, int(asked[6:-1]) if asked else 0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if made.break_off is not None and "resolve" in self.path:
                content = content[: made.break_off]
            self.wfile.write(content)

        def log_message(self, *given):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_port}"
    made.files[catalog.PUBLISHED["stable-diffusion-1-5"].source] = dict(FOLDER)
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_folder_without_what_is_not_read(hub, tmp_path):
    told = []
    folder = fetch("stable-diffusion-1-5", mirror=hub.address, tell=told.append)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == WANTED | {"card.json"}
    assert models.folder_of("stable-diffusion-1-5") == folder
    assert models.card_of(folder)["licence"] == "CreativeML OpenRAIL-M" and "OpenRAIL" in told[0]
    assert not (tmp_path / "home" / ".partial" / "stable-diffusion-1-5").exists()
    count = len(hub.asked)
    assert fetch("stable-diffusion-1-5", mirror=hub.address, tell=told.append) == folder
    assert len(hub.asked) == count


def test_a_checkpoint_is_converted(hub, tmp_path, monkeypatch):
    ldm_layout.save_lightning(ldm_layout.zero123(networks()), tmp_path / "105000.ckpt", monkeypatch)
    content = (tmp_path / "105000.ckpt").read_bytes()
    hub.files["cvlab/zero123-weights"] = {"105000.ckpt": content, "165000.ckpt": b"another"}
    told = []
    folder = fetch("zero123-105000", mirror=hub.address + "/", tell=told.append)
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file() and "0 missing" in told[-2]
    digest = hashlib.sha256(content).hexdigest()
    assert models.card_of(folder)["made of"]["sha256"] == digest
    assert [path for path, _ in hub.asked if "resolve" in path] == ["/cvlab/zero123-weights/resolve/main/105000.ckpt"]
    monkeypatch.setenv("ASSET3D_MODELS", str(tmp_path / "other"))
    with pytest.raises(InputError, match=f"has the SHA-256 {digest}, not {'0' * 64}"):
        fetch("zero123-105000", path=tmp_path / "105000.ckpt", sha256="0" * 64)
    assert fetch("zero123-105000", path=tmp_path / "105000.ckpt", sha256=digest.upper()).is_dir()


def test_a_broken_download_goes_on(hub, tmp_path):
    hub.break_off = 5000
    with pytest.raises(InputError, match="broke off .*the same command goes on from there"):
        fetch("stable-diffusion-1-5", mirror=hub.address, tell=lambda text: None)
    assert not models.fetched()
    hub.break_off = None
    hub.asked.clear()
    folder = fetch("stable-diffusion-1-5", mirror=hub.address, tell=lambda text: None)
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (folder / name).read_bytes() == FOLDER[name]
    assert [asked for path, asked in hub.asked if path.endswith(name)] == ["bytes=5000-"]


def test_a_wrong_file_is_thrown_away(hub):
    hub.wrong_hash = True
    with pytest.raises(InputError, match=r"is not the file that is listed \(SHA-256 0000"):
        fetch("stable-diffusion-1-5", mirror=hub.address, tell=lambda text: None)
    assert not models.fetched() and not list(models.home().rglob("*.safetensors"))


def test_pickles_alone_are_refused(hub):
    files = hub.files[catalog.PUBLISHED["stable-diffusion-1-5"].source]
    del files["vae/diffusion_pytorch_model.safetensors"]
    with pytest.raises(InputError, match="vae has no weights as safetensors"):
        fetch("stable-diffusion-1-5", mirror=hub.address, tell=lambda text: None)


@pytest.mark.parametrize("status, said", [(404, "answers 404"), (401, "accept the licence at https://huggingface.co/"),
                                          (403, "and set HF_TOKEN")])
def test_refusals_of_a_hub(hub, status, said):
    hub.status = status
    with pytest.raises(InputError, match=said):
        fetch("stable-diffusion-1-5", mirror=hub.address)


def test_offline_it_asks_once_and_says_what_to_do(hub, monkeypatch):
    import socket

    asked = []

    def refuse(*given, **named):
        asked.append(given)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(InputError, match="cannot be reached .*copy zero123-xl.ckpt of cvlab/zero123-weights here and "
                                         "give path="):
        fetch("zero123-xl")
    assert len(asked) == 1


def test_the_policy_comes_before_the_network(hub, monkeypatch):
    monkeypatch.setenv(policy.VARIABLE, "commercial")
    with pytest.raises(InputError, match="is non-commercial .*refuses; use zero123-xl instead"):
        fetch("stable-zero123", mirror=hub.address)
    with pytest.raises(InputError, match="is research-only .*use stable-diffusion-xl instead"):
        fetch("deepfloyd-if", mirror=hub.address)
    assert not hub.asked


def test_a_token_is_shown_to_the_hub_alone(hub, monkeypatch):
    import urllib.request

    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = []

    def stop(request, timeout):
        seen.append(request)
        raise OSError("stop")

    monkeypatch.setattr(urllib.request, "urlopen", stop)
    for mirror in (None, hub.address, "https://huggingface.co.example.org"):
        with pytest.raises(InputError):
            fetch("zero123-xl", mirror=mirror)
    assert ["Authorization" in dict(r.unredirected_hdrs) for r in seen] == [True, False, False]


def test_the_command(hub, tmp_path, capsys):
    assert main(["fetch", "stable-diffusion-1-5", f"mirror={hub.address}"]) == 0
    assert "CreativeML" in capsys.readouterr().out
    assert main(["fetch", "zero123-lx"]) == 2 and "did you mean 'zero123-xl'" in capsys.readouterr().err
    assert main(["fetch", "zero123-xl", f"path={tmp_path}/none.ckpt"]) == 2
    assert "published as a checkpoint, zero123-xl.ckpt of cvlab" in capsys.readouterr().err
    assert main(["fetch", "zero123-xl", "mirror=file:///etc"]) == 2 and "path=" in capsys.readouterr().err
