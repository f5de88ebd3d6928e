#!/usr/bin/env bash
# From a fresh machine to the main job's result: installs what is missing (Debian and relatives; root or sudo), builds
# examples/g2p and runs it in its short form. Its table, its JSON and its picture are in runs/g2p-quick.
# Arguments go to the program: bash examples/quickstart.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/setup.sh

install_packages $example_packages
choose_build_key
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"  # threads that wait leave the cores to other programs
configure_and_build examples g2p
say "Running examples/g2p"
exec "build/examples$RETORT_BUILD_KEY/examples/g2p/g2p" --quick --out runs/g2p-quick "$@"
