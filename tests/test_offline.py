"""With embedded models nothing looks for a network: an audit hook ends the process at the first try."""
import subprocess
import sys

import pytest
import tiny_models
from asset3d.scene.image import save_png

HOOK = """
import os, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        sys.stderr.write(f"network: {event} {arguments}")
        os._exit(77)
sys.addaudithook(refuse)
"""
RUN = HOOK + """
from asset3d.run import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture()
def photo(tmp_path):
    view = tiny_models.given_view(160)
    save_png(tmp_path / "disk.png", view.color[0], view.alpha[0])
    return tmp_path / "disk.png"


def test_the_hook_sees_a_try():
    code = HOOK + "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 77


def test_new_views_of_a_photo_need_no_network(photo, tmp_path):
    settings = [f"image={photo}", "count=2", "new.sampling_steps=2", f"output={tmp_path / 'run'}"]
    done = subprocess.run([sys.executable, "-c", RUN, "novel_views", *settings], capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result" / "views.png").is_file()
