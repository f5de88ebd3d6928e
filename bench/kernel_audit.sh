#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/setup.sh

usage() {
  cat <<'TEXT'
Usage: bash bench/kernel_audit.sh [OPTION...]

Compiles the CUDA kernels, without a GPU, and prints a row for each kernel and architecture: threads of a block and
dynamic shared memory as it is usually launched, registers, static shared memory, bytes of spill stores and loads,
stack frame, instructions that use local memory (LDL, STL), theoretical occupancy, and how many of the instructions
that read global memory take 16 bytes (LDG.E.128 of all LDG, cp.async included; a scalar rest of a row counts too).
Ends with 1 if a kernel spills or has an array in local memory. About 3 minutes on 2 cores.

  --arch LIST    of 80,90,... (default: 80,90)
  --file NAME    only this .cu file, by its path or its name without ending; may be given several times
  --only REGEX   only the rows whose kernel matches
  --keep FOLDER  leave what ptxas and cuobjdump said there
  --help         this text

nvcc is looked for in PATH and /usr/local/cuda/bin, cuobjdump and nvdisasm there too or where CUOBJDUMP says; without
them the columns that need them show "-". RETORT_JOBS sets the number of cores used (default: all).
TEXT
}
wrong() { echo "kernel_audit.sh: $1" >&2; exit 2; }

arches=80,90 only="" keep="" files=()
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit ;;
    --arch | --file | --only | --keep) [ $# -gt 1 ] || wrong "$1 needs a value; see --help" ;;&
    --arch) arches=${2//sm_/}; shift ;;
    --file) files+=("$2"); shift ;;
    --only) only=$2; shift ;;
    --keep) keep=$2; shift ;;
    *) wrong "unknown option '$1'; valid are --arch, --file, --only, --keep, --help" ;;
  esac
  shift
done
[[ $arches =~ ^[0-9]+(,[0-9]+)*$ ]] || wrong "--arch expects numbers like 80,90, got '$arches'"

export PATH="$PATH:/usr/local/cuda/bin"
[ -z "${CUOBJDUMP:-}" ] || PATH="$PATH:$(dirname "$CUOBJDUMP")"
command -v nvcc >/dev/null || wrong "there is no nvcc in PATH or /usr/local/cuda/bin"
cuobjdump=${CUOBJDUMP:-$(command -v cuobjdump || true)}
[ -n "$cuobjdump" ] || echo "kernel_audit.sh: no cuobjdump: local memory by ptxas alone, no widths of loads" >&2

mapfile -t all < <(find include/retort -name '*.cu' | sort)
sources=()
for file in "${files[@]}"; do
  found=
  for source in "${all[@]}"; do
    [ "$(basename "$source" .cu)" != "$file" ] || found=$source
  done
  [ -n "$found" ] || [ ! -f "$file" ] || found=$file
  [ -n "$found" ] || wrong "there is no file '$file'; the library's are: ${all[*]}"
  sources+=("$found")
done
[ ${#files[@]} -gt 0 ] || sources=("${all[@]}")

folder=${keep:-$(mktemp -d)}
mkdir -p "$folder"
[ -n "$keep" ] || trap 'rm -rf "$folder"' EXIT
export folder cuobjdump

# compile SOURCE ARCH: NAME.ARCH.log by ptxas, NAME.ARCH.sass by cuobjdump, kernels' names demangled
compile() {
  local to
  to=$folder/$(basename "$1" .cu).$2
  nvcc -cubin -std=c++20 --expt-relaxed-constexpr -O3 -I include -arch="sm_$2" -Xptxas -v "$1" -o "$to.cubin" >"$to.raw" 2>&1 ||
    { cat "$to.raw" >&2; return 1; }
  c++filt <"$to.raw" >"$to.log"
  : >"$to.sass"
  [ -z "$cuobjdump" ] || "$cuobjdump" -sass "$to.cubin" | c++filt >"$to.sass"
}
export -f compile

for arch in ${arches//,/ }; do
  for source in "${sources[@]}"; do printf '%s\0%s\0' "$source" "$arch"; done
done | xargs -0 -n 2 -P "$(jobs_here)" bash -euo pipefail -c 'compile "$@"' compile || wrong "a file does not compile"

printf '%-58s %-7s %5s %5s %7s %7s %11s %5s %6s %7s %9s\n' kernel arch block regs static dynamic "spill st/ld" stack \
  local occup. "16 B/all"
status=0
for source in "${sources[@]}"; do
  echo "-- $source"
  for arch in ${arches//,/ }; do
    of=$folder/$(basename "$source" .cu).$arch
    awk -f bench/support/kernel_audit.awk -v arch="$arch" -v only="$only" "$of.log" "$of.sass" || status=1
  done
done
[ $status = 0 ] && echo "No kernel spills or has an array in local memory." ||
  echo "Kernels marked with <-- keep numbers in local memory."
exit $status
