"""Compiles every .cu with nvcc for each supported GPU, without torch headers and with warnings as errors.

    python csrc/check_cuda.py [--arch sm_90] [FILE.cu ...]

Needs nvcc but no GPU; says so and succeeds where nvcc is missing. Prints registers, spills and shared memory per kernel
and architecture, and fails where a float32 kernel spills.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ARCHES = ["sm_80", "sm_86", "sm_89", "sm_90"]
FLAGS = ["-std=c++20", "-O3", "--expt-extended-lambda", "-Werror=all-warnings", "-Xcompiler=-Wall,-Werror",
         "-Xptxas=-v"]


class Usage(NamedTuple):
    """What ptxas says about one kernel on one architecture."""

    file: str
    kernel: str
    arch: str
    registers: int
    spilled: int
    """Bytes stored and loaded because registers ran out."""
    shared: int


def nvcc_command(source: Path, arches: list[str]) -> list[str]:
    targets = [f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}" for arch in arches]
    return ["nvcc", *FLAGS, *targets, "-c", str(source), "-o", os.devnull]


def kernel_name(symbol: str) -> str:
    """asset3d::hash_grid::features_kernel<float, true>, shortened to what tells kernels apart."""
    full = symbol
    if shutil.which("c++filt"):
        full = subprocess.run(["c++filt", symbol], capture_output=True, text=True).stdout.strip()
    full = re.sub(r"\(anonymous namespace\)::|asset3d::\w+::|^void ", "", full)
    return re.sub(r"\(.*$", "", re.sub(r"\((bool|int|unsigned int)\)", "", full))


def parse(file: str, text: str) -> list[Usage]:
    rows = []
    for block in re.split(r"ptxas info\s*: Compiling entry function ", text)[1:]:
        symbol, arch = re.match(r"'(\S+)' for '(\S+)'", block).groups()
        stores, loads = map(int, re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", block).groups())
        registers = int(re.search(r"Used (\d+) registers", block).group(1))
        shared = re.search(r"(\d+) bytes smem", block)
        shared_bytes = int(shared.group(1)) if shared else 0
        rows.append(Usage(file, kernel_name(symbol), arch, registers, stores + loads, shared_bytes))
    return rows


def compile_one(source: Path, arches: list[str]) -> tuple[list[Usage], str]:
    """Usage of every kernel of a file, and the messages of the compiler if it failed."""
    result = subprocess.run(nvcc_command(source, arches), capture_output=True, text=True, cwd=ROOT)
    text = result.stdout + result.stderr
    if result.returncode:
        return [], "\n".join(line for line in text.splitlines() if "ptxas info" not in line)
    return parse(str(source.relative_to(ROOT)), text), ""


def table(rows: list[Usage], arches: list[str]) -> str:
    """One line per kernel: registers per architecture, then the worst spill and the shared memory."""
    lines = [f"{'kernel':58}" + "".join(f"{arch:>7}" for arch in arches) + "  spill  shared"]
    for file in dict.fromkeys(r.file for r in rows):
        lines.append(file)
        for kernel in sorted({r.kernel for r in rows if r.file == file}):
            own = {r.arch: r for r in rows if r.file == file and r.kernel == kernel}
            registers = "".join(f"{own[arch].registers if arch in own else '-':>7}" for arch in arches)
            spill, shared = max(r.spilled for r in own.values()), max(r.shared for r in own.values())
            lines.append(f"  {kernel:56}{registers}{spill:>7}{shared:>8}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", action="append", choices=ARCHES, help="compile for this GPU only; all by default")
    parser.add_argument("sources", nargs="*", metavar="FILE.cu", help="by default all of csrc")
    options = parser.parse_args(arguments)
    arches = options.arch or ARCHES
    if not shutil.which("nvcc"):
        print("check-cuda: SKIPPED, nvcc is not on PATH (install the CUDA toolkit 12 or 13; no GPU is needed)")
        return 0
    sources = [Path(source).resolve() for source in options.sources] or sorted(ROOT.glob("csrc/**/*.cu"))
    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
        results = list(pool.map(lambda source: compile_one(source, arches), sources))
    rows = [row for usages, _ in results for row in usages]
    failures = [f"{source}:\n{text}" for source, (_, text) in zip(sources, results) if text]
    failures += [f"{r.file}: {r.kernel} spills {r.spilled} bytes on {r.arch}"
                 for r in rows if r.spilled and "double" not in r.kernel]
    print(table(rows, arches))
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"check-cuda: {len(sources)} files, {len({(r.file, r.kernel) for r in rows})} kernels, "
          f"{', '.join(arches)}: {len(failures)} problems")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
