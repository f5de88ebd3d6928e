#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/setup.sh

usage() {
  cat <<'TEXT'
Usage: bash tests/run.sh [OPTION...] [-- CTEST-OPTION...]

Installs what is missing (Debian and relatives; root or sudo), builds everything and runs all tests. Where there is
nvcc (PATH, /usr/local/cuda/bin) that includes the CUDA device; without a GPU its tests are reported as skipped.

  --sanitizers       then also under the address and undefined-behaviour sanitizers
  --only-sanitizers  under the sanitizers alone
  --no-cuda          leave the CUDA device out
  --no-install       install nothing
  --help             this text

What follows -- goes to ctest: bash tests/run.sh -- --label-regex autograd
RETORT_SANITIZERS=1 does what --sanitizers does, RETORT_CUDA=0 what --no-cuda does; RETORT_JOBS sets the number of
cores used (default: all).
TEXT
}

presets=(release)
install=yes
cuda=${RETORT_CUDA:-1}
[ "${RETORT_SANITIZERS:-0}" = 0 ] || presets=(release sanitizers)
while [ $# -gt 0 ]; do
  case $1 in
    --sanitizers) presets=(release sanitizers) ;;
    --only-sanitizers) presets=(sanitizers) ;;
    --no-cuda) cuda=0 ;;
    --no-install) install=no ;;
    --help | -h) usage; exit ;;
    --) shift; break ;;
    *) echo "tests/run.sh: unknown option '$1'; valid are --sanitizers, --only-sanitizers, --no-cuda, --no-install," \
         "--help" >&2
       exit 2 ;;
  esac
  shift
done

[ $install = no ] || install_packages $example_packages $test_packages
choose_build_key
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"  # threads that wait leave the cores to other programs

configure_options=(-DRETORT_CUDA=OFF)  # whatever the folder was configured with before
if [ "$cuda" = 0 ]; then
  echo "The CUDA device is left out, as asked."
elif ! find_nvcc; then
  echo "The CUDA device is left out: no nvcc of CUDA 12.4 or later in PATH or /usr/local/cuda/bin."
else
  # One architecture is enough to see that it compiles and links, and later GPUs run it as well.
  configure_options=(-DRETORT_CUDA=ON -DRETORT_CUDA_PROGRAMS=OFF -DCMAKE_CUDA_ARCHITECTURES=80)
fi

for preset in "${presets[@]}"; do
  [ "$preset" = release ] || configure_options=()
  configure_and_build "$preset"
  say "Testing, preset $preset"
  ctest --preset "$preset" --parallel "$(jobs_here)" --no-tests=error "$@"
done
