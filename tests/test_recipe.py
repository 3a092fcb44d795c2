"""Recipes: what is read, what is refused and in which words, overrides, schedules in fields, help and plan."""
import json
import random
import sys
from pathlib import Path

import fake_stages
import pytest
from bad_recipes import BAD_RECIPES

from asset3d import Run, recipe
from asset3d.errors import RecipeError
from asset3d.run import main

_watching: list[tuple] | None = None
_WRITES = ("os.system", "subprocess.Popen", "socket.connect", "os.mkdir", "os.rename", "os.remove", "os.symlink",
           "os.link", "shutil.rmtree", "os.exec", "os.fork", "os.posix_spawn")


def _audit(event: str, arguments: tuple) -> None:
    if _watching is None:
        return
    if event in _WRITES:
        _watching.append((event, arguments))
    elif event == "open" and isinstance(arguments[0], (str, bytes)) and "__pycache__" not in str(arguments[0]):
        mode = arguments[1] or ""
        if any(letter in mode for letter in "wax+") or (arguments[1] is None and arguments[2] & 3):
            _watching.append((event, arguments))


sys.addaudithook(_audit)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.txt").write_text("hello")
    return tmp_path


def save(folder: Path, content: str | bytes) -> None:
    (folder / "r.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())


def test_table_is_distinct():
    assert len(BAD_RECIPES) >= 120
    assert len({title for title, *_ in BAD_RECIPES}) == len(BAD_RECIPES)
    assert len({(content, *arguments) for _, content, arguments, _ in BAD_RECIPES}) == len(BAD_RECIPES)


@pytest.mark.parametrize("content, arguments, says", [pytest.param(*row, id=title) for title, *row in BAD_RECIPES])
def test_bad_recipe(content, arguments, says, folder, capfd):
    global _watching
    save(folder, content)
    before = sorted(folder.rglob("*"))
    _watching = []
    try:
        status = main(["r.yaml", *arguments])
    finally:
        watched, _watching = _watching, None
    out, err = capfd.readouterr()
    assert status == 2, err
    assert out == "" and "Traceback" not in err
    for text in says:
        assert text in err
    assert len(err) < 3000, "an error is for reading"
    assert sorted(folder.rglob("*")) == before and watched == []


def test_all_faults_at_once_sorted_by_line(folder):
    save(folder, "name: bad\nstage:\n  - {type: fake_read, views: w.txt, viewz: 1}\n  - {type: fake_walk, steps: x}\n"
                 "  - {type: nothing}\nseeed: 3\n")
    with pytest.raises(RecipeError) as caught:
        recipe.load("r.yaml", ["steps=1", "fake_walk.size=-1"])
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "r.yaml:3:23", "r.yaml:3:37", "r.yaml:4:23", "r.yaml:5:6", "r.yaml:6:1", "argument steps=1",
        "argument fake_walk.size=-1"]
    assert "did you mean 'views'?" in lines[1] and "did you mean 'seed'?" in lines[4]


def test_no_traceback_from_the_command(folder):
    save(folder, "name: bad\nstage: !!python/object/apply:os.system ['touch pwned']\n")
    done = fake_stages.python("-m", "asset3d.run", "r.yaml", cwd=folder)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == ("r.yaml:2:8: stage: tag '!python/object/apply:os.system' is not allowed: "
                           "a recipe holds plain data\n")
    assert sorted(path.name for path in folder.iterdir()) == ["r.yaml", "v.txt"]


def test_missing_recipe_names(folder, capsys):
    assert main(["nothing.yaml"]) == 2
    assert "nothing.yaml: no such file" in capsys.readouterr().err
    assert main(["."]) == 2
    assert main(["quikstart"]) == 2
    assert "quikstart: no recipe of this name comes with asset3d" in capsys.readouterr().err
    assert main([]) == 2 and main(["--help"]) == 0


def test_unreadable_recipe(folder):
    (folder / "link.yaml").symlink_to("link.yaml")
    with pytest.raises(RecipeError, match="no such file"):
        recipe.load("link.yaml")


def test_overrides_edit_the_document(folder):
    save(folder, fake_stages.RECIPE)
    loaded = recipe.load("r.yaml", ["views=v.txt", "steps=1e2", "seed=7", "second.stride={0: 2, 5: 3}",
                                    "first.mode=slow", "first.loss=[{type: fake_pull}]", "deterministic=false",
                                    "fake_write.file=123.bin"])
    read, first, second, write = loaded.stage
    assert read.views == folder / "v.txt"
    assert (first.steps, second.steps, loaded.seed, first.mode, loaded.deterministic) == (100, 100, 7, "slow", False)
    assert [second.stride(step) for step in (0, 4, 5, 99)] == [2, 2, 3, 3]
    assert first.loss[0].weight(0) == 1 and write.file == "123.bin" and read.name == "fake_read"


def test_items_of_lists_by_type_and_number(folder):
    save(folder, fake_stages.RECIPE.replace("name: first,", "name: first, loss: [{type: fake_pull, weight: 2}],"))
    for key in ("first.loss.fake_pull.weight", "first.loss.0.weight"):
        assert recipe.load("r.yaml", {"views": "v.txt", key: 5}).stage[1].loss[0].weight(0) == 5


def test_paths_start_at_the_recipe_or_at_the_current_folder(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "v.txt").write_text("other")
    content = fake_stages.RECIPE.replace("???", "v.txt")
    (folder / "sub" / "r.yaml").write_text(content)
    assert recipe.load("sub/r.yaml").stage[0].views == folder / "sub" / "v.txt"
    (folder / "w.txt").write_text("third")
    assert recipe.load("sub/r.yaml", ["views=w.txt"]).stage[0].views == folder / "w.txt"


def test_an_override_moves_the_paths_of_no_other_stage(folder):
    (folder / "sub").mkdir()
    for place in (folder, folder / "sub"):
        (place / "p").write_text(str(place))
    (folder / "sub" / "r.yaml").write_text("name: x\nstage:\n"
                                           "  - {type: fake_read, name: one, views: p, as: {views: first}}\n"
                                           "  - {type: fake_read, name: two, views: p}\n")
    one, two = recipe.load("sub/r.yaml", ["two.views=p"]).stage
    assert (one.views, two.views) == (folder / "sub" / "p", folder / "p")
    one, two = recipe.load("sub/r.yaml", {"one.views": "p"}).stage
    assert (one.views, two.views) == (folder / "p", folder / "sub" / "p")


def test_resolved_recipe_is_equal(folder):
    save(folder, fake_stages.RECIPE)
    loaded = recipe.load("r.yaml", ["views=v.txt", "first.pause=1e-7", "first.range=[-0.1, 1e300]",
                                    "first.loss=[{type: fake_pull, weight: {from: 1e-5, to: 1, until_step: 9}}]"])
    (folder / "resolved.yaml").write_text(recipe.dump(loaded))
    again = recipe.load("resolved.yaml")
    assert again == loaded and recipe.dump(again) == recipe.dump(loaded)


def test_mapping_as_recipe(folder):
    with pytest.raises(RecipeError, match="^recipe: stage.0.views: must be given: fake_read.views=...$"):
        Run({"name": "x", "stage": [{"type": "fake_read", "views": "???"}]})


def test_byte_order_mark_and_windows_lines(folder):
    save(folder, b"\xef\xbb\xbf" + fake_stages.RECIPE.replace("\n", "\r\n").replace("???", "v.txt").encode())
    assert recipe.load("r.yaml").name == "walk"


def test_400_mutated_recipes(folder):
    """Random damage to a good recipe: it loads, or it is refused as a recipe is refused."""
    good = fake_stages.RECIPE.replace("???", "v.txt").encode()
    pieces = [b"{", b"}", b"[", b"]", b": ", b"- ", b"&a ", b"*a", b"!!x ", b"'", b'"', b"\t", b"\n", b"|", b">",
              b"%", b"\xff", b"#", b"? ", b"<<: ", b"---", b"...", b"1e999", b"~", b"\0", b"true", b"type", b"stage",
              b"@", b"`"]
    refused = 0
    for seed in range(400):
        generator, content = random.Random(seed), bytearray(good)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(content))
            content[at : at + generator.choice([0, 1, 1, 5])] = generator.choice(pieces)
        save(folder, bytes(content))
        try:
            assert recipe.load("r.yaml").name
        except RecipeError as error:
            refused += 1
            assert all(line.startswith(("r.yaml:", "    ")) for line in str(error).splitlines()), (seed, str(error))
    assert refused > 200


def test_help_of_a_recipe(folder, capsys):
    save(folder, fake_stages.RECIPE)
    assert main(["--help", "r.yaml"]) == 0
    text = capsys.readouterr().out
    assert "views=    must be given  (fake_read.views)\n      A text file." in text
    assert "steps=    default 20  (first.steps, second.steps)\n      How many steps to walk." in text
    assert "seed=" in text and "output=" in text
    assert text.endswith("stages\n  1. fake_read\n  2. first (fake_walk)\n  3. second (fake_walk)\n  4. fake_write\n")


def test_dry_run_prints_the_plan_and_writes_nothing(folder, capsys):
    save(folder, fake_stages.RECIPE)
    assert main(["--dry-run", "r.yaml", "views=v.txt"]) == 0
    assert "  3. second (fake_walk): views -> far, 20 steps\n  4. fake_write: far -> asset\n" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["r.yaml", "v.txt"]
    assert main(["--dry-run", "r.yaml", "views=w.txt"]) == 2


def test_schema_in_docs_is_fresh():
    """In a process of its own: this one has the stages of tests as well."""
    done = fake_stages.python("-m", "asset3d.schema")
    known = (fake_stages.FOLDER.parent / "docs" / "recipe.schema.json").read_text(encoding="utf-8")
    assert done.stdout == known, "run: python -m asset3d.schema docs/recipe.schema.json"


def test_schema_describes_what_is_registered():
    code = "import fake_stages; from asset3d import schema; print(schema.text())"
    done = fake_stages.python("-c", code)
    schema = json.loads(done.stdout)
    stages = {stage["properties"]["type"]["const"]: stage for stage in schema["properties"]["stage"]["items"]["oneOf"]}
    assert stages["fake_walk"]["properties"]["steps"]["description"] == "How many steps to walk."
    assert stages["fake_read"]["required"] == ["type", "views"]
    assert not stages["fake_walk"]["additionalProperties"]
