"""Recipes that must be refused: (what is wrong, the file's content, arguments, what the error must say).

In a content `...` stands for one good stage that reads a file; `v.txt` is there.
"""
READ = "{type: fake_read, views: v.txt}"
HEAD = "name: bad\nstage:\n"
WALK = HEAD + f"  - {READ}\n  - "  # a stage after it starts at 4:5


def walk(field: str) -> str:
    """A recipe whose second stage, in line 4, has one more field, at column 23."""
    return WALK + "{type: fake_walk, " + field + "}\n"


def _bomb() -> str:
    lines = ["a: &a0 [x, x]"] + [f"b{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    return "\n".join(lines) + "\n"


SYNTAX = [
    ("empty file", "", [], ["r.yaml: the file is empty"]),
    ("comments alone", "# nothing\n\n", [], ["the file is empty"]),
    ("null document", "~\n", [], ["r.yaml:1:1: a recipe is a mapping"]),
    ("a list", "- a\n- b\n", [], ["r.yaml:1:1: a recipe is a mapping"]),
    ("a text", "hello\n", [], ["a recipe is a mapping"]),
    ("two documents", "name: a\n---\nname: b\n", [], ["not YAML", "another document"]),
    ("unclosed bracket", "name: bad\nstage: [\n", [], ["r.yaml:3:1: not YAML"]),
    ("unclosed quote", "name: 'bad\nstage: []\n", [], ["not YAML"]),
    ("bad indentation", "name: bad\n  stage: []\n", [], ["r.yaml:2:", "not YAML"]),
    ("tab indentation", "name: bad\nstage:\n\t- {type: fake_read}\n", [],
     ["r.yaml:3:1: not YAML", "indent with spaces, not tabs"]),
    ("undefined alias", "name: *who\n", [], ["r.yaml:1:7: not YAML", "undefined alias"]),
    ("latin-1", "name: caf\xe9\n".encode("latin-1"), [], ["r.yaml:1:10: not UTF-8 text (byte 0xe9)"]),
    ("utf-16", "name: bad\n".encode("utf-16"), [], ["not UTF-8 text"]),
    ("binary", bytes(range(256)) * 8, [], ["r.yaml:", "not"]),
    ("null bytes", b"name: bad\n\0\0\0\0", [], ["r.yaml:2:1: not a text file"]),
    ("control character", "name: a\x07b\n", [], ["r.yaml:1:8: not a text file"]),
    ("a png", b"\x89PNG\r\n\x1a\n" + bytes(100), [], ["not UTF-8 text"]),
    ("10 MB", b"a: " + b"x" * 10_000_000, [], ["larger than 256 KiB"]),
    ("10 MB of keys", b"".join(b"key%d: 1\n" % i for i in range(900_000)), [], ["larger than 256 KiB"]),
    ("many values", "name: [" + "1, " * 30_000 + "1]\n", [], ["more than 20000 values"]),
    ("deep brackets", "name: " + "[" * 10_000 + "]" * 10_000, [], ["nested more than 32 levels"]),
    ("deep braces", "{a: " * 10_000 + "1" + "}" * 10_000, [], ["nested more than 32 levels"]),
    ("deep indentation", "".join(" " * i + "a:\n" for i in range(200)), [], ["nested more than 32 levels"]),
    ("alias bomb", _bomb(), [], ["more than 20000 values, aliases unfolded"]),
    ("alias to itself", "a: &a [*a]\n", [], ["r.yaml:1:8: alias *a refers to what it is part of"]),
    ("unknown directive", "%YAML 9.9\n---\nname: x\n", [], ["not YAML"]),
    ("json with a trailing fault", '{"name": "bad", "stage": ]}', [], ["not YAML"]),
]

DATA = [
    ("python tag", HEAD + "  - !!python/object/apply:os.system ['touch pwned']\n", [],
     ["r.yaml:3:5: stage.0: tag '!python/object/apply:os.system' is not allowed"]),
    ("python name", "name: !!python/name:os.system\nstage: [...]\n", [], ["r.yaml:1:7: name: tag", "is not allowed"]),
    ("local tag", "name: !include /etc/passwd\nstage: [...]\n", [], ["tag '!include' is not allowed"]),
    ("binary tag", "name: !!binary aGVsbG8=\nstage: [...]\n", [], ["tag '!binary' is not allowed"]),
    ("set tag", "name: !!set {a, b}\nstage: [...]\n", [], ["tag '!set' is not allowed"]),
    ("duplicate key", "name: bad\nname: worse\nstage: [...]\n", [],
     ["r.yaml:2:1: name: duplicate key 'name', first in line 1"]),
    ("duplicate nested key", walk("steps: 3, steps: 4"), [], ["r.yaml:4:33: stage.1.steps: duplicate key"]),
    ("merge key", "base: &b {name: bad}\n<<: *b\nstage: [...]\n", [],
     ["r.yaml:2:1: merge keys (<<) are not part of YAML 1.2"]),
    ("list as a key", "? [a, b]\n: 1\nname: bad\nstage: [...]\n", [], ["a key must be a name"]),
    ("null key", "~: 1\nname: bad\nstage: [...]\n", [], ["r.yaml:1:1: a key must be a name"]),
    ("not a number", walk("pause: .nan"), [], ["r.yaml:4:23: stage.1.pause: must be finite, got .nan"]),
    ("infinity", walk("pause: -.inf"), [], ["r.yaml:4:23: stage.1.pause: must be finite"]),
    ("overflow to infinity", walk("pause: 1e999"), [], ["must be finite, got 1e999"]),
    ("a number of 100 000 digits", walk("steps: " + "9" * 100_000), [], ["a number of 100000 digits"]),
    ("half a surrogate pair", 'name: "\\ud800"\nstage: [...]\n', [], ["not a character"]),
]

KEYS = [
    ("no name", "stage: [...]\n", [], ["r.yaml:1:1: key 'name' is missing"]),
    ("no stage", "name: bad\n", [], ["key 'stage' is missing"]),
    ("empty list of stages", "name: bad\nstage: []\n", [], ["r.yaml:2:1: stage: list should have at least 1 item"]),
    ("stages as a mapping", "name: bad\nstage: {type: fake_read, views: v.txt}\n", [],
     ["r.yaml:2:1: stage: must be a valid"]),
    ("a stage that is text", HEAD + "  - fake_read\n", [],
     ["r.yaml:3:5: stage.0: must be a mapping with the key 'type'"]),
    ("no type", HEAD + "  - {views: v.txt}\n", [], ["r.yaml:3:5: stage.0: key 'type' is missing"]),
    ("unknown stage", HEAD + "  - {type: fake_raed, views: v.txt}\n", [],
     ["r.yaml:3:6: stage.0.type: unknown stage 'fake_raed'; did you mean 'fake_read'?"]),
    ("type that is a path", HEAD + "  - {type: ../../etc/passwd}\n", [], ["unknown stage '../../etc/passwd'"]),
    ("type that is a module", HEAD + "  - {type: os.system}\n", [], ["unknown stage 'os.system'"]),
    ("type that is a number", HEAD + "  - {type: 5}\n", [], ["unknown stage '5'"]),
    ("type that is private", HEAD + "  - {type: base}\n", [], ["unknown stage 'base'"]),
    ("unknown key at the top", "name: bad\nstages: [...]\nstage: [...]\n", [],
     ["r.yaml:2:1: stages: unknown key 'stages'; did you mean 'stage'?"]),
    ("hydra target", "name: bad\n_target_: os.system\nstage: [...]\n", [], ["unknown key '_target_'"]),
    ("unknown key in a stage", walk("stepz: 3"), [],
     ["r.yaml:4:23: stage.1.stepz: unknown key 'stepz'; did you mean 'steps'?"]),
    ("unknown key in a loss", walk("loss: [{type: fake_pull, wieght: 3}]"), [],
     ["r.yaml:4:48: stage.1.loss.0.wieght: unknown key 'wieght'; did you mean 'weight'?"]),
    ("unknown loss", walk("loss: [{type: fake_pll}]"), [],
     ["r.yaml:4:31: stage.1.loss.0.type: unknown loss 'fake_pll'; did you mean"]),
    ("output in a recipe", "name: bad\noutput: ../elsewhere\nstage: [...]\n", [],
     ["r.yaml:2:1: output: a recipe does not say where it writes"]),
    ("name that climbs", "name: ../../bad\nstage: [...]\n", [], ["r.yaml:1:1: name: must match"]),
    ("absolute name", "name: /tmp/bad\nstage: [...]\n", [], ["r.yaml:1:1: name: must match"]),
    ("file name that climbs", WALK + "{type: fake_walk}\n  - {type: fake_write, file: ../../x}\n", [],
     ["r.yaml:5:24: stage.2.file: must match"]),
    ("absolute file name", WALK + "{type: fake_walk}\n  - {type: fake_write, file: /etc/x}\n", [],
     ["stage.2.file: must match"]),
    ("stage name with slashes", walk("name: ../../../x"), [], ["r.yaml:4:23: stage.1.name: must match"]),
    ("environment in braces", walk("name: '${oc.env:HOME}'"), [], ["stage.1.name: must match"]),
]

VALUES = [
    ("text for an integer", walk("steps: many"), [],
     ["r.yaml:4:23: stage.1.steps: must be a valid integer, got 'many'"]),
    ("quoted integer", walk("steps: '3'"), [], ["must be a valid integer, got '3'"]),
    ("bool for an integer", walk("steps: true"), [], ["must be a valid integer, got true"]),
    ("fraction for an integer", walk("steps: 2.5"), [], ["must be a valid integer"]),
    ("list for an integer", walk("steps: [3]"), [], ["must be a valid integer, got a list of 1"]),
    ("nothing for an integer", walk("steps: ~"), [], ["must be a valid integer, got nothing"]),
    ("below the range", walk("steps: -1"), [], ["must be greater than or equal to 0, got -1"]),
    ("above the range", walk("size: 1e9"), [], ["must be less than or equal to 10000000, got 1000000000"]),
    ("yaml 1.1 bool", "name: bad\ndeterministic: yes\nstage: [...]\n", [],
     ["r.yaml:2:1: deterministic: must be a valid boolean, got 'yes'"]),
    ("negative seed", "name: bad\nseed: -1\nstage: [...]\n", [],
     ["r.yaml:2:1: seed: must be greater than or equal to 0"]),
    ("unknown device", "name: bad\ndevice: gpu\nstage: [...]\n", [], ["r.yaml:2:1: device: must match"]),
    ("zero checkpoint_every", "name: bad\ncheckpoint_every: 0\nstage: [...]\n", [],
     ["checkpoint_every: must be greater"]),
    ("unknown choice", walk("mode: fsat"), [],
     ["r.yaml:4:23: stage.1.mode: must be 'fast' or 'slow', got 'fsat'; did you mean 'fast'?"]),
    ("pair of three", walk("range: [1, 2, 3]"), [], ["stage.1.range: tuple should have at most 2 items"]),
    ("pair with text", walk("range: [1, b]"), [], ["r.yaml:4:34: stage.1.range.1: must be a valid number, got 'b'"]),
    ("negative weight", walk("loss: [{type: fake_pull, weight: -1}]"), [],
     ["r.yaml:4:48: stage.1.loss.0.weight: must be at least 0, got -1"]),
    ("text for a schedule", walk("stride: big"), [], ["stage.1.stride: must be a number or a schedule"]),
    ("schedule without step 0", walk("stride: {5: 1}"), [],
     ["stage.1.stride: a schedule says what holds from step 0 on; its first step is 5"]),
    ("schedule with a name", walk("stride: {0: 1, later: 2}"), [], ["the keys of a schedule are steps"]),
    ("schedule with a negative step", walk("stride: {-5: 1, 0: 2}"), [], ["the keys of a schedule are steps"]),
    ("schedule out of range", walk("stride: {0: 1, 9: 11}"), [], ["must be at most 10, got 11"]),
    ("empty schedule", walk("stride: {}"), [], ["an empty schedule"]),
    ("half a linear schedule", walk("stride: {from: 0, to: 1}"), [],
     ["a linear schedule has exactly the keys from, to, until_step"]),
    ("linear schedule with until_step 0", walk("stride: {from: 1, to: 2, until_step: 0}"), [],
     ["until_step must be an integer of at least 1"]),
    ("fraction in an integer schedule", walk("width: {0: 1, 5: 1.5}"), [], ["must be an integer or a schedule"]),
    ("list for a schedule", walk("stride: [0, 10]"), [], ["must be a number or a schedule"]),
]

FILES = [
    ("must be given", HEAD + "  - {type: fake_read, views: ???}\n", [],
     ["r.yaml:3:23: stage.0.views: must be given: fake_read.views=..."]),
    ("must be given, by its short name",
     "name: bad\narguments: {photos: fake_read.views}\nstage:\n  - {type: fake_read, views: ???}\n", [],
     ["r.yaml:4:23: stage.0.views: must be given: photos=..."]),
    ("no such file", HEAD + "  - {type: fake_read, views: w.txt}\n", [],
     ["r.yaml:3:23: stage.0.views: no such file or folder", "w.txt"]),
    ("a URL", HEAD + "  - {type: fake_read, views: 'http://example.com/x'}\n", [],
     ["is a URL; asset3d reads local files only"]),
    ("a file URL", HEAD + "  - {type: fake_read, views: 'file:///etc/passwd'}\n", [], ["is a URL"]),
    ("number for a path", HEAD + "  - {type: fake_read, views: 5}\n", [],
     ["must be the path of a file or folder, got 5"]),
    ("empty path", HEAD + "  - {type: fake_read, views: ''}\n", [], ["must be the path of a file or folder"]),
    ("path with a null", HEAD + '  - {type: fake_read, views: "a\\0b"}\n', [],
     ["must be the path of a file or folder"]),
    ("path of 100 000 letters", HEAD + "  - {type: fake_read, views: " + "a" * 100_000 + "}\n", [],
     ["no such file or folder"]),
]

CHAIN = [
    ("nothing to read", HEAD + "  - {type: fake_walk}\n", [],
     ["r.yaml:3:5: stage.0: 'fake_walk' reads 'views', which no earlier stage writes"]),
    ("wrong order", HEAD + f"  - {{type: fake_walk}}\n  - {READ}\n", [],
     ["r.yaml:3:5: stage.0: 'fake_walk' reads 'views'"]),
    ("renamed away",
     "name: bad\nstage:\n  - {type: fake_read, views: v.txt, as: {views: photos}}\n  - {type: fake_walk}\n", [],
     ["r.yaml:4:5: stage.1: 'fake_walk' reads 'views', which no earlier stage writes; there is photos"]),
    ("from an unknown artifact", walk("from: {views: photos}"), [], ["'fake_walk' reads 'photos'"]),
    ("from for what is not read", walk("from: {vews: views}"), [],
     ["r.yaml:4:30: stage.1.from.vews: the stage reads no 'vews'; did you mean 'views'?"]),
    ("as for what is not written", walk("as: {mesh: coarse}"), [],
     ["r.yaml:4:28: stage.1.as.mesh: the stage writes no 'mesh'"]),
    ("two stages of one name", HEAD + f"  - {READ}\n  - {READ}\n", [],
     ["r.yaml:4:5: stage.1.name: a second stage is called 'fake_read'; give it a name"]),
    ("argument for no stage", "name: bad\narguments: {steps: optimise.steps}\nstage: [...]\n", [],
     ["r.yaml:2:13: arguments.steps: 'optimise.steps' is no STAGE_NAME.field"]),
    ("argument for no field", "name: bad\narguments: {views: fake_read.vews}\nstage: [...]\n", [],
     ["has no 'vews'; did you mean 'views'?"]),
    ("argument called output", "name: bad\narguments: {output: fake_read.views}\nstage: [...]\n", [],
     ["'output' is an argument of every recipe"]),
    ("argument with a space", "name: bad\narguments: {my views: fake_read.views}\nstage: [...]\n", [],
     ["r.yaml:2:13: arguments.my views: must match"]),
    ("argument as a number", "name: bad\narguments: {views: 5}\nstage: [...]\n", [],
     ["r.yaml:2:13: arguments.views: must be a valid string, got 5"]),
]

def fit(renderer: str, loss: str = "mask", more: str = "", representation: str = "sdf_field", stage: str = "") -> str:
    """Pictures to which a field is fitted; its renderer stands in line 6, its loss at 7:12, `more` in line 8."""
    return (HEAD + "  - {type: sample_views}\n  - type: optimize\n"
            f"    representation: {{type: {representation}}}\n    renderer: {{type: {renderer}}}\n"
            f"    loss: [{{type: {loss}}}]\n{more}{stage}")


TO_TEXTURE = "  - {type: convert, to: mesh}\n  - {type: texture, rays: 9}\n"
TO_SURFACE = """\
  - {type: convert, to: tet_mesh}
  - {type: optimize, name: surface, renderer: {type: sdf_volume}, loss: [{type: mask}]}
"""
TOGETHER = [
    ("density for a renderer of distances", fit("sdf_volume", representation="hash_grid_field"), [],
     ["r.yaml:6:5: stage.1.renderer: renderer 'sdf_volume' draws representations that give 'sdf', the representation "
      "here gives 'density'"]),
    ("field for a renderer of meshes", fit("mesh"), [], ["r.yaml:6:5: stage.1.renderer: renderer 'mesh' draws"]),
    ("mesh of an earlier stage for a renderer of distances", fit("sdf_volume", stage=TO_SURFACE), [],
     ["r.yaml:9:37: stage.3.renderer: renderer 'sdf_volume' draws", "the representation here gives 'surface'"]),
    ("depth loss for views without depth", fit("sdf_volume", "depth"), [],
     ["r.yaml:7:12: stage.1.loss.0: loss 'depth' needs views with 'depth' maps, and these have none"]),
    ("normal loss for views without normals", fit("sdf_volume, normals: true", "normal"), [],
     ["r.yaml:7:12: stage.1.loss.0: loss 'normal' needs views with 'normal' maps"]),
    ("ssim of rays", fit("sdf_volume", "photometric, ssim: 1"), [],
     ["r.yaml:7:12: stage.1.loss.0: loss 'photometric' needs 'images', which renderer 'sdf_volume' does not give",
      "leave `ssim` out"]),
    ("eikonal without distances", fit("volume", "eikonal", representation="hash_grid_field"), [],
     ["r.yaml:7:12: stage.1.loss.0: loss 'eikonal' needs 'sdf_gradient', which renderer 'volume' does not give"]),
    ("eikonal without points", fit("sdf_volume, eikonal_points: 0", "eikonal"), [],
     ["loss 'eikonal' needs 'sdf_gradient'", "`eikonal_points` above 0"]),
    ("smoothness without distances", fit("volume", "smoothness", representation="hash_grid_field"), [],
     ["r.yaml:7:12: stage.1.loss.0: loss 'smoothness' needs 'neighbour_normals'"]),
    ("laplacian of a field", fit("sdf_volume", "laplacian"), [], ["loss 'laplacian' needs 'vertices'"]),
    ("coarsest level finer than the finest", fit("sdf_volume", representation="sdf_field, base_resolution: 600"), [],
     ["r.yaml:5:", "max_resolution must be at least base_resolution (600), got 512"]),
    ("resolution of rays", fit("sdf_volume", more="    resolution: 64\n"), [],
     ["r.yaml:8:5: stage.1.resolution: has no effect: the renderer here is trained on rays, `resolution` is for"]),
    ("views per step of rays", fit("sdf_volume", more="    views_per_step: 3\n"), [],
     ["r.yaml:8:5: stage.1.views_per_step: has no effect"]),
    ("rays of images", fit("sdf_volume", stage=TO_TEXTURE), [],
     ["r.yaml:9:21: stage.3.rays: has no effect: the renderer here is trained on images"]),
]

GOOD = walk("name: walk").replace("name: bad", "name: bad\narguments: {steps: walk.steps, loss: walk.loss}")
OVERRIDES = [
    ("unknown argument", GOOD, ["stepz=3"], ["argument stepz=3: unknown argument 'stepz'; did you mean 'steps'?"]),
    ("unknown stage in an argument", GOOD, ["wolk.steps=3"],
     ["argument wolk.steps=3: no stage 'wolk'; did you mean 'walk.steps'?"]),
    ("unknown field in an argument", GOOD, ["walk.stepz=3"],
     ["argument walk.stepz=3: stage.1.stepz: unknown key 'stepz'; did you mean 'steps'?"]),
    ("wrong type in an argument", GOOD, ["steps=many"],
     ["argument steps=many: stage.1.steps: must be a valid integer, got 'many'"]),
    ("out of range in an argument", GOOD, ["steps=-3"],
     ["argument steps=-3: stage.1.steps: must be greater than or equal to 0"]),
    ("broken brackets in an argument", GOOD, ["loss=[{"], ["argument loss=[{: not YAML"]),
    ("tag in an argument", GOOD, ["loss=[!!python/name:os.system x]"], ["is not allowed"]),
    ("no item of that number", GOOD, ["walk.loss.3.weight=1"], ["argument walk.loss.3.weight=1"]),
    ("seed that is text", GOOD, ["seed=abc"], ["argument seed=abc: seed: must be a valid integer, got 'abc'"]),
    ("device that is not here", GOOD, ["device=cuda:77"], ["device=cuda:77: torch sees"]),
    ("no key", GOOD, ["=3"], ["write key=value"]),
    ("a second recipe", GOOD, ["other.yaml"], ["a recipe is given already"]),
    ("unknown option", GOOD, ["--dryrun"], ["unknown option --dryrun; did you mean '--dry-run'?"]),
    ("file in an argument", GOOD, ["fake_read.views=w.txt"],
     ["argument fake_read.views=w.txt: stage.0.views: no such file or folder"]),
    ("empty output", GOOD, ["output="], ["give a new or empty folder"]),
    ("output that is a file", GOOD, ["output=v.txt"], ["is a file; give a new or empty folder"]),
    ("output that is not empty", GOOD, ["output=."], ["the folder is not empty"]),
    ("output with a long name", GOOD, ["output=" + "x" * 300], ["the name is too long"]),
    ("bytes in an argument", GOOD, ["walk.mode=\udcff"], ["not UTF-8 text"]),
    ("key below a number", GOOD, ["walk.steps.x=3"],
     ["argument walk.steps.x=3", "must be a valid integer, got a mapping"]),
    ("argument of 10 000 letters", GOOD, ["walk.mode=" + "x" * 10_000],
     ["argument walk.mode: stage.1.mode: must be 'fast' or 'slow'"]),
    ("home folder of nobody", GOOD, ["fake_read.views=~nosuchuser/x"],
     ["argument fake_read.views=~nosuchuser/x: stage.0.views: there is no home folder of this name: ~nosuchuser/x; "]),
    ("number that is none", GOOD, ["loss=[{type: fake_pull}]", "walk.loss.\u00b2=1"],
     ["argument walk.loss.\u00b2=1: stage.1.loss.\u00b2: no item '\u00b2' in this list of 1"]),
    ("output below a file", GOOD, ["output=v.txt/x"], ["cannot be made"]),
]

TABLES = SYNTAX, DATA, KEYS, VALUES, FILES, CHAIN, TOGETHER, OVERRIDES
BAD_RECIPES = [(title, content.replace("...", READ) if isinstance(content, str) else content, arguments, says)
               for table in TABLES for title, content, arguments, says in table]
