"""Runs the tools of tests/node, and says visibly where they are missing."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "node"


def run_node(script: str, *arguments, data: bytes = b"") -> bytes:
    """Standard output of a script of tests/node; skipped where node or its packages are missing."""
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "gltf-validator").exists():
        pytest.skip("node, or tests/node/node_modules (`make node`), is missing")
    return subprocess.run(["node", FOLDER / script, *map(str, arguments)], input=data, capture_output=True,
                          check=True).stdout


def validate_gltf(*paths) -> list[dict]:
    """Khronos' report on each file: numErrors, numWarnings, numInfos, numHints, messages, info."""
    return json.loads(run_node("validate.js", *paths))
