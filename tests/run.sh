#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/setup.sh

usage() {
  cat <<'TEXT'
Usage: bash tests/run.sh [OPTION...] [-- CTEST-OPTION...]

Installs what is missing (Debian and relatives; root or sudo), builds everything and runs all tests.

  --sanitizers       then also under the address and undefined-behaviour sanitizers
  --only-sanitizers  under the sanitizers alone
  --no-install       install nothing
  --help             this text

What follows -- goes to ctest: bash tests/run.sh -- --label-regex autograd
RETORT_SANITIZERS=1 does what --sanitizers does; RETORT_JOBS sets the number of cores used (default: all).
TEXT
}

presets=(release)
install=yes
[ "${RETORT_SANITIZERS:-0}" = 0 ] || presets=(release sanitizers)
while [ $# -gt 0 ]; do
  case $1 in
    --sanitizers) presets=(release sanitizers) ;;
    --only-sanitizers) presets=(sanitizers) ;;
    --no-install) install=no ;;
    --help | -h) usage; exit ;;
    --) shift; break ;;
    *) echo "tests/run.sh: unknown option '$1'; valid are --sanitizers, --only-sanitizers, --no-install, --help" >&2
       exit 2 ;;
  esac
  shift
done

[ $install = no ] || install_packages $example_packages $test_packages
choose_build_key
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"  # threads that wait leave the cores to other programs

for preset in "${presets[@]}"; do
  configure_and_build "$preset"
  say "Testing, preset $preset"
  ctest --preset "$preset" --parallel "$(jobs_here)" --no-tests=error "$@"
done
