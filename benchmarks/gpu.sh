#!/usr/bin/env bash
# Everything that needs a GPU, in one command of at most 9 minutes; needs no network.
#
#   benchmarks/gpu.sh            PYTHON=... chooses the interpreter (default: .venv/bin/python of the checkout, or python3)
#
# Builds the CUDA kernels for this GPU, runs the operator tests on it, the memory and the race checker on tiny shapes, a
# recipe that is stopped and resumed, and the benchmarks. Writes benchmarks/results/<gpu>.json, .md and .log, also when a step fails. Exit code 1 if one did.
# OUT=DIR also copies the results there. DRY_RUN=1 prints the steps instead of running them. PEERS=DIR holds wheels, or folders
# of sources, of gsplat, nvdiffrast, tiny-cuda-nn or kaolin: they are installed beside the build and compared with.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
OUT=${OUT:-}
DRY_RUN=${DRY_RUN:-}
PEERS=${PEERS:-}
RESULTS=benchmarks/results
DEADLINE=$((SECONDS + 530))
failed=0
steps=""
mkdir -p "$RESULTS"
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1

# The GPU's architecture, and its name as a file name.
read -r arch gpu < <("$PYTHON" -c '
import re, torch
print("%d.%d" % torch.cuda.get_device_capability(), re.sub("[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-"))
' 2>/dev/null)
if [ -z "$gpu" ] && [ -z "$DRY_RUN" ]; then
  echo "gpu.sh: $PYTHON sees no CUDA GPU (torch.cuda.get_device_name failed); install a CUDA build of torch on a machine with one" >&2
  exit 1
fi
gpu=${gpu:-dry-run}
log="$RESULTS/$gpu.log"
if [ -n "$DRY_RUN" ]; then
  log=/dev/stderr
else
  : > "$log"
  rm -f "$RESULTS/$gpu.json" "$RESULTS/$gpu.md"  # or a step that fails would leave an older run's numbers
fi

# step NAME SECONDS COMMAND...: runs it with a limit, within what is left of the whole; a failure does not stop the rest.
step() {
  local name=$1 limit=$2 left=$((DEADLINE - SECONDS)) start=$SECONDS code
  shift 2
  if [ -n "$DRY_RUN" ]; then echo "$name (at most ${limit}s): $*"; return; fi
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 5 ]; then
    code=124
    echo "== $name: no time left" | tee -a "$log"
  else
    echo "== $name (at most ${limit}s): $*" | tee -a "$log"
    timeout --kill-after=5 "$limit" "$@" >> "$log" 2>&1
    code=$?
    [ "$code" -ne 0 ] && tail -n 25 "$log"
  fi
  [ "$code" -ne 0 ] && failed=1
  echo "== $name: exit $code after $((SECONDS - start))s" | tee -a "$log"
  steps="$steps$name=$code,$((SECONDS - start)) "
}

skip() {
  echo "== $1: skipped, $2" | tee -a "$log"
  steps="$steps$1=skipped,0 "
}

export ASSET3D_CUDA=1 ASSET3D_EMULATE=0 TORCH_CUDA_ARCH_LIST=${arch:-9.0} MAX_JOBS=${MAX_JOBS:-$(nproc)}
if command -v nvcc > /dev/null || [ -n "$DRY_RUN" ]; then
  step build 240 "$PYTHON" setup.py build_ext --inplace
else
  skip build "nvcc is not on PATH; using the kernels that are built"
fi
if [ -n "$PEERS" ]; then  # one that cannot be installed is not compared with, and that is all
  failed_before=$failed
  for peer in "$PEERS"/*; do
    step "peer-$(basename "$peer")" 120 "$PYTHON" -m pip install --no-index --no-deps --no-build-isolation \
      --target build/peers "$peer"
  done
  failed=$failed_before
  export PYTHONPATH="$PWD:$PWD/build/peers"
fi
step kernels 30 "$PYTHON" -c 'import torch; from asset3d import _C; info = _C.build_info(); print(info); assert info["cuda"]'
step tests 150 "$PYTHON" -m pytest -q -p no:cacheprovider -k cuda tests/ops
if command -v compute-sanitizer > /dev/null || [ -n "$DRY_RUN" ]; then
  for tool in memcheck racecheck; do
    step "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$PYTHON" benchmarks/tiny_shapes.py
  done
else
  skip memcheck "compute-sanitizer is not on PATH"
  step tiny_shapes 60 "$PYTHON" benchmarks/tiny_shapes.py
fi
step recipe 90 "$PYTHON" benchmarks/gpu_recipe.py
step benchmarks 150 "$PYTHON" benchmarks/run.py --device cuda --name "$gpu"
[ -n "$DRY_RUN" ] && exit 0

# The steps go into the JSON beside the benchmarks, so that one file says what this GPU has passed.
"$PYTHON" - "$RESULTS/$gpu" "$steps" "$(git rev-parse HEAD 2>/dev/null)" <<'PROGRAM' || failed=1
import json, sys
from pathlib import Path

base, text, commit = sys.argv[1:]
path = Path(base + ".json")
data = json.loads(path.read_text()) if path.exists() else {}
data["commit"] = commit
data["steps"] = {name: {"exit": code, "seconds": int(seconds)}
                 for name, _, rest in (item.partition("=") for item in text.split())
                 for code, seconds in [rest.split(",")]}
path.write_text(json.dumps(data, indent=2) + "\n")
lines = ["", "| step | exit | seconds |", "|---|---|---|"]
lines += [f"| {name} | {step['exit']} | {step['seconds']} |" for name, step in data["steps"].items()]
with open(base + ".md", "a") as file:
    file.write("\n".join(lines) + "\n")
PROGRAM
[ -n "$OUT" ] && mkdir -p "$OUT" && cp "$RESULTS/$gpu".* "$OUT/"
[ -e "$RESULTS/$gpu.md" ] && cat "$RESULTS/$gpu.md"
exit "$failed"
