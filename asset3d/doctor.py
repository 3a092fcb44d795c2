"""Says what this machine offers asset3d, and what to do about what is missing: `python -m asset3d.doctor`.

Runs without the built extension, without a GPU and without any optional package. Exit code 1 if asset3d cannot work.
"""
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BUILD = "build it: pip install --no-build-isolation -e . (in the checkout, after torch), or run `make setup`"
# Optional packages that tests compare with: what they are for.
PACKAGES = {
    "embreex": "exact ray casting in tests", "skimage": "reference values in tests of metrics",
    "pycolmap": "tests of COLMAP models",
}
INSTALL_NAMES = {"skimage": "scikit-image"}
# Tools on PATH: what they are for, and where to get them.
TOOLS = {
    "c++": ("building the extension", "install g++ or clang (Debian: apt install g++)"),
    "ninja": ("building in parallel", "pip install ninja"),
    "make": ("make quickstart, test, check", "apt install make"),
    "nvcc": ("CUDA kernels, make check-cuda", "install the CUDA toolkit 12 or 13; not needed on a CPU"),
    "compute-sanitizer": ("memory and race checks on a GPU", "part of the CUDA toolkit"),
    "node": ("the glTF validator in tests", "install Node.js 18 or newer"),
    "chromium": ("the test that looks at reports", "apt install chromium"),
    "blender": ("nothing; the bpy package of `make check-blender` is separate", "optional"),
}
REQUIRED = ["numpy", "pydantic", "ruamel.yaml", "safetensors", "trimesh", "xatlas", "PIL", "imageio", "imageio_ffmpeg",
            "rich", "scipy", "fast_simplification", "jaxtyping"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    state: str
    """ok, missing (optional), or broken (asset3d cannot work)."""
    text: str
    advice: str = ""


def system() -> list[Finding]:
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory"
    return [
        Finding("system", "ok", f"{platform.platform()}, Python {platform.python_version()}"),
        Finding("cpu", "ok", f"{_cpu_name()}, {os.cpu_count()} cores{memory}"),
    ]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def torch_and_gpu() -> list[Finding]:
    try:
        import torch
    except ImportError:
        return [Finding("torch", "broken", "not installed", "pip install 'torch>=2.10'")]
    kind = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs only"
    findings = [Finding("torch", "ok", f"{torch.__version__} {kind}, {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(i)
            memory = f"{gpu.total_memory / 2**30:.0f} GiB"
            findings.append(Finding(f"cuda:{i}", "ok", f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {memory}"))
    elif shutil.which("nvidia-smi") and not torch.version.cuda:
        findings.append(Finding("gpu", "missing", "there seems to be a GPU, but torch is a build for CPUs only",
                                "install torch from the index of a CUDA build"))
    else:
        findings.append(Finding("gpu", "missing", "none that torch can use; everything runs on the CPU, slower",
                                "nothing to do: device=auto, the default, takes the CPU"))
    return findings


def kernels() -> list[Finding]:
    try:
        extension = importlib.import_module("asset3d._C")
    except ImportError as error:
        return [Finding("kernels", "broken", f"asset3d._C cannot be loaded: {error}", BUILD)]
    info = extension.build_info()
    chosen = " (ASSET3D_ISA)" if os.environ.get("ASSET3D_ISA") else ""
    findings = [Finding("kernels", "ok", f"CPU, instruction set {info['isa']}{chosen}, compiler {info['compiler']}")]
    if info["cuda"]:
        findings.append(Finding("cuda kernels", "ok", f"built for {info['cuda_arches']}"))
    else:
        findings.append(Finding("cuda kernels", "missing", "not built",
                                "with nvcc and a CUDA build of torch, reinstall with ASSET3D_CUDA=1"))
    if importlib.util.find_spec("asset3d._emulated"):
        findings.append(Finding("emulated kernels", "ok", "the CUDA kernels can be run by the CPU, for tests"))
    else:
        findings.append(Finding("emulated kernels", "missing", "only tests need them",
                                "reinstall with ASSET3D_EMULATE=1"))
    return findings


def _has(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def _version(package: str) -> str:
    name = INSTALL_NAMES.get(package, package)
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "installed"


def packages() -> list[Finding]:
    missing = [name for name in REQUIRED if not _has(name)]
    findings = [Finding("packages", "broken", f"missing: {', '.join(missing)}", "pip install -r requirements.lock")
                if missing else Finding("packages", "ok", f"all {len(REQUIRED)} that asset3d requires")]
    for name, purpose in PACKAGES.items():
        if _has(name):
            findings.append(Finding(name, "ok", _version(name)))
        else:
            findings.append(Finding(name, "missing", purpose, f"pip install {INSTALL_NAMES.get(name, name)}"))
    return findings


def backends() -> list[Finding]:
    """Kernels of other people, which a recipe may ask for by name."""
    try:
        from asset3d.ops._backend import FAMILIES, HOMES
    except ImportError:  # without torch, which is told already
        return []
    findings = []
    for name, home in HOMES.items():
        families = ", ".join(family for family, names in FAMILIES.items() if name in names)
        findings.append(Finding(name, "ok", _version(name)) if _has(name) else
                        Finding(name, "missing", f"`backend: {name}` in a recipe, for {families}", f"see {home}"))
    return findings


def _first_line(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in (result.stdout or result.stderr).splitlines() if line.strip()]
    return lines[0] if lines else ""


def tools() -> list[Finding]:
    findings = []
    for name, (purpose, advice) in TOOLS.items():
        path = shutil.which(name)
        findings.append(Finding(name, "ok", path) if path else Finding(name, "missing", purpose, advice))
    findings.append(_ffmpeg())
    return findings


def _ffmpeg() -> Finding:
    """Films are written by the ffmpeg that imageio-ffmpeg brings; another is used if IMAGEIO_FFMPEG_EXE names it."""
    try:
        import imageio_ffmpeg

        path = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        return Finding("ffmpeg", "broken", f"imageio-ffmpeg has none for this machine: {error}",
                       "install ffmpeg and set IMAGEIO_FFMPEG_EXE to its path")
    return Finding("ffmpeg", "ok", _first_line(path, "-version")[:60] or path)


def report() -> list[Finding]:
    """Everything, in the order of the printed table."""
    return [*system(), *torch_and_gpu(), *kernels(), *packages(), *backends(), *tools()]


def main() -> int:
    findings = report()
    width = max(len(f.topic) for f in findings)
    for f in findings:
        advice = f"  -> {f.advice}" if f.advice else ""
        print(f"{f.state:8} {f.topic:{width}}  {f.text}{advice}")
    broken = [f.topic for f in findings if f.state == "broken"]
    print(f"\nasset3d cannot work here until these are repaired: {', '.join(broken)}" if broken
          else "\nasset3d can work here.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
