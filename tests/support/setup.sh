# Sourced by tests/run.sh and examples/quickstart.sh: the machine's packages, and a build folder of its own for it.
# Called from the repository's root, under "set -euo pipefail".

# Debian's packages: what the library and its examples need, what the tests and benchmarks need besides.
example_packages="g++ cmake ninja-build libeigen3-dev libfmt-dev libcli11-dev
  nlohmann-json3-dev gnuplot-nox festlex-cmu"
test_packages="catch2 libbenchmark-dev libopenblas-openmp-dev libpcre2-dev libutf8proc-dev libsentencepiece-dev
  patch"

say() { printf '\n== %s\n' "$*"; }

# Installs those of the given packages that dpkg does not list as installed. Elsewhere than on Debian and its
# relatives, or without the right to install, it names them and goes on: configuring says what is really missing.
install_packages() {
  local missing=() package as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is no Debian system. Needed, under the names they have there: $(echo "$@")"
    return
  fi
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Neither root nor sudo. Have someone run: apt-get install ${missing[*]}"
      return
    fi
    as_root=(sudo)
  fi
  say "Installing ${missing[*]}"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# The presets compile for this machine's CPU, and such a program may not run on another: RETORT_BUILD_KEY, a digest of
# the CPU's flags, becomes part of the build folder's name.
choose_build_key() {
  local flags
  flags=$(grep -m 1 -iE '^(flags|features)' /proc/cpuinfo 2>/dev/null || true)
  RETORT_BUILD_KEY="-$(printf '%s %s' "$(uname -m)" "$flags" | cksum | cut -d ' ' -f 1)"
  export RETORT_BUILD_KEY
}

# The cores to build and test on; RETORT_JOBS overrides.
jobs_here() { echo "${RETORT_JOBS:-$(nproc 2>/dev/null || echo 2)}"; }

# Whether there is an nvcc that is new enough for the library.
find_nvcc() {
  local nvcc version
  nvcc=$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc) || return 1
  version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  [ "$(printf '%s\n' 12.4 "$version" | sort -V | head -n 1)" = 12.4 ]
}

# configure_and_build PRESET [TARGET...]; options for configuring may be in the array configure_options
configure_and_build() {
  local preset=$1 start=$SECONDS
  shift
  say "Configuring and building, preset $preset, folder build/$preset$RETORT_BUILD_KEY"
  cmake --preset "$preset" ${configure_options[@]+"${configure_options[@]}"}
  cmake --build --preset "$preset" --parallel "$(jobs_here)" ${1:+--target "$@"}
  echo "Configured and built in $((SECONDS - start)) s"
}
