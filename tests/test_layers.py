"""Imports point one way, and `import asset3d` costs nothing."""
import ast
import json
from pathlib import Path

import fake_stages
import pytest

PACKAGE = Path(fake_stages.FOLDER.parent, "asset3d")
# each may import what stands before it and itself; names in one line are neighbours and may not import each other
LAYERS = [
    ["errors", "events", "schedule"],
    ["_C", "_emulated"],
    ["ops"],
    ["scene"],
    ["models"],
    ["prior", "metric", "representation"],
    ["exporter", "loss", "renderer"],
    ["toybox"],
    ["train"],
    ["stage", "report"],
    ["run", "check", "doctor", "schema", "_run", "_progress", "_machine"],
]
SHARED = {"registry": {"errors"}, "workspace": {"errors"}, "_document": {"errors"},
          "_recipe_errors": {"errors", "registry", "_document"},
          "recipe": {"errors", "registry", "_document", "_recipe_errors"},
          "_manifest": {"models", "recipe", "registry", "workspace"}}
"""What all but ops and scene may import, with what they may import themselves."""
COMMANDS = LAYERS[-1]


def unit(path: Path) -> str:
    """The part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports, wherever in the file, but for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "asset3d" and not node.level:
            parts = node.module.split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("asset3d.")}
    return {name for name in found if not name.startswith("__")}


def allowed(name: str) -> set[str]:
    if name in SHARED:
        return SHARED[name]
    level = next(i for i, names in enumerate(LAYERS) if name in names)
    below = {other for names in LAYERS[:level] for other in names}
    neighbours = set(COMMANDS) if name in COMMANDS else set()
    return below | {name} | neighbours | (set() if name in ("ops", "scene") else set(SHARED))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_one_way(path):
    if unit(path) in ("__init__", "__main__"):
        return  # the public names, for type checkers
    assert imports(path) <= allowed(unit(path)), f"{path} imports {sorted(imports(path) - allowed(unit(path)))}"


def test_lines_are_at_most_120_characters_long():
    kernels = [path for suffix in ("h", "cpp", "cu") for path in (PACKAGE.parent / "csrc").rglob(f"*.{suffix}")]
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "benchmarks").glob("*.py"), *kernels]
    assert not [f"{path.relative_to(PACKAGE.parent)}:{number}" for path in sorted(files)
                for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if len(line) > 120]


def test_import_is_cheap():
    code = ("import sys, json, torch; before = set(sys.modules); import asset3d;"
            "print(json.dumps(sorted(set(sys.modules) - before)))")
    done = fake_stages.python("-c", code)
    assert json.loads(done.stdout) == ["asset3d"], done.stderr


def test_heavy_packages_wait_until_they_are_needed():
    heavy = {"trimesh", "scipy", "xatlas", "imageio", "rich", "PIL"}
    code = f"import sys, asset3d.run; print(*sorted(set(sys.modules) & {heavy}))"
    done = fake_stages.python("-c", code)
    assert done.stdout.split() == [], done.stderr


def test_public_names():
    import asset3d

    assert 20 <= len(asset3d.__all__) <= 35
    for name in asset3d.__all__:
        assert getattr(asset3d, name) is not None
    assert set(asset3d.__all__) <= set(dir(asset3d))
    with pytest.raises(AttributeError, match="has no attribute 'Rum'"):
        asset3d.Rum


def test_public_names_are_what_type_checkers_see():
    import asset3d

    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
             if alias.asname and node.module.startswith("asset3d")}
    assert typed == set(asset3d.__all__)
