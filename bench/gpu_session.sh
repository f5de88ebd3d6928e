#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: bash bench/gpu_session.sh [OPTION...] RESULTS

On a machine with an NVIDIA GPU: builds the library with its CUDA device, runs the device's tests, then under
compute-sanitizer, then the benchmarks and PyTorch's on the same shapes. Everything lands in the folder RESULTS; the
last lines are a summary. About 8 minutes on 16 cores.

  --deps FOLDER   headers of the dependencies, see examples/collect_deps.sh (default: this machine's packages)
  --build FOLDER  where to build (default: build/gpu)
  --only LIST     steps, of: build,test,sanitize,bench,peers (default: all)
  --help          this text
TEXT
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
deps="" build=build/gpu only=build,test,sanitize,bench,peers results=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit ;;
    --deps) deps=$2; shift ;;
    --build) build=$2; shift ;;
    --only) only=$2; shift ;;
    -*) echo "gpu_session.sh: unknown option '$1'; --help lists them" >&2; exit 2 ;;
    *) results=$1 ;;
  esac
  shift
done
[ -n "$results" ] || { echo "gpu_session.sh: a folder for the results is needed; see --help" >&2; exit 2; }
mkdir -p "$results"
wanted() { case ,$only, in *,$1,*) return 0 ;; *) return 1 ;; esac; }
status=0
# step NAME COMMAND...: its output goes to RESULTS/NAME.log, its end to the screen
step() {
  local name=$1 began=$SECONDS code=0
  shift
  "$@" >"$results/$name.log" 2>&1 || code=$?
  echo "== $name: exit $code, $((SECONDS - began)) s"
  [ $code -eq 0 ] || { status=1; tail -n 25 "$results/$name.log"; }
}

{
  date -u
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
  nvcc --version | tail -n 2 || true
  git rev-parse HEAD 2>/dev/null || true
} | tee "$results/machine.txt"

if wanted build; then
  step configure cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DRETORT_CUDA=ON -DRETORT_DEPS="$deps" \
    -DCMAKE_CUDA_ARCHITECTURES=native -DRETORT_TEST_SOURCES=OFF -DRETORT_BUILD_EXAMPLES=OFF
  step build cmake --build "$build" --parallel --target test_device bench_device bench_step bench_decode bench_row_loss
fi
wanted test && step test "$build/tests/test_device"
if wanted sanitize; then
  sanitizer() {
    local tool=$1
    shift
    step "$tool" compute-sanitizer --tool "$tool" --report-api-errors no --error-exitcode 9 "$build/tests/test_device" "$@"
  }
  sanitizer memcheck
  # The kernels' own tests, by the names of their files: whole models would take this tool many minutes.
  sanitizer racecheck -# \
    "[#attention],[#gather],[#graphs],[#losses],[#pointwise],[#random],[#rows],[#sampling],[#update]"
fi
if wanted bench; then
  step bench "$build/bench/device" --out "$results/retort.jsonl"
  for program in step decode row_loss; do
    step $program "$build/bench/$program" --device cuda --dtype bfloat16
    cat "$results/$program.log"
  done
fi
wanted peers && step peers python3 bench/peers/gpu.py --out "$results/peers.jsonl"
exit $status
