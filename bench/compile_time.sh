#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/support/setup.sh

usage() {
  cat <<'TEXT'
Usage: bash bench/compile_time.sh [--json FILE] [--quick]

Measures, at one core a compiler and this machine's CPU flags:
  - each program of bench/compile_time: seconds to compile at -O2 with the headers alone (no shared instantiations)
  - the whole test build from an empty folder, on all cores, with its slowest files; then every header alone

  --json FILE  the same figures as JSON
  --quick      the programs alone
TEXT
}

json=
quick=no
while [ $# -gt 0 ]; do
  case $1 in
    --json) [ $# -gt 1 ] || { echo "compile_time.sh: --json needs a file" >&2; exit 2; }; json=$2; shift ;;
    --quick) quick=yes ;;
    --help | -h) usage; exit ;;
    *) echo "compile_time.sh: unknown option '$1'; valid are --json FILE, --quick, --help" >&2; exit 2 ;;
  esac
  shift
done

choose_build_key
folder=build/compile-time$RETORT_BUILD_KEY
rm -rf "$folder"
mkdir -p "$folder"
cmake --preset release -B "$folder" -DRETORT_BUILD_EXAMPLES=OFF -DRETORT_BUILD_BENCH=OFF >"$folder/configure.log" ||
  { cat "$folder/configure.log"; exit 1; }
compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$folder/CMakeCache.txt")

# run_timed COMMAND...: sets seconds and, where GNU time is installed, megabytes (peak resident size).
run_timed() {
  local report="$folder/timed"
  if [ -x /usr/bin/time ]; then
    /usr/bin/time -o "$report" -f '%e %M' "$@"
    read -r seconds megabytes <"$report"
    megabytes=$((megabytes / 1024))
  else
    local TIMEFORMAT=%R
    { time "$@" 2>"$folder/errors"; } 2>"$report" || { cat "$folder/errors"; exit 1; }
    seconds=$(cat "$report")
    megabytes=
  fi
}

rows=()  # name;seconds;megabytes;limit in seconds
for source in bench/compile_time/*.cpp; do
  run_timed "$compiler" "@$folder/tests/compile_flags.rsp" -march=native -O2 -c "$source" -o "$folder/program.o"
  rows+=("$source -O2, headers alone;$seconds;$megabytes;20")
done
if [ $quick = no ]; then
  run_timed cmake --build "$folder" --parallel "$(jobs_here)" >"$folder/build.log" || { tail -n 40 "$folder/build.log"; exit 1; }
  rows+=("all tests, $(jobs_here) cores;$seconds;;480")
  while read -r line; do rows+=("$line"); done < <(
    awk -F '\t' '$4 ~ /\.o$/ { printf "%.2f;%s\n", ($2 - $1) / 1000, $4 }' "$folder/.ninja_log" |
      sort -t ';' -k 1 -nr | head -n 10 | awk -F ';' '{ sub(/CMakeFiles\/[^\/]*\.dir\//, "", $2); sub(/\.o$/, "", $2)
                                                        printf "  %s;%s;;30\n", $2, $1 }')
  run_timed cmake --build "$folder" --parallel "$(jobs_here)" --target retort_headers retort_headers_eigen >"$folder/build.log" ||
    { tail -n 40 "$folder/build.log"; exit 1; }
  rows+=("every header alone, $(jobs_here) cores (a test);$seconds;;300")
fi

printf '\n%-72s %10s %8s %8s\n' compiled seconds MB limit
for row in "${rows[@]}"; do
  IFS=';' read -r name seconds megabytes limit <<<"$row"
  printf '%-72s %10.1f %8s %8s\n' "$name" "$seconds" "${megabytes:--}" "$limit s"
done

if [ -n "$json" ]; then
  {
    printf '{"compiler": "%s", "cores": %s, "rows": [' "$("$compiler" --version | head -n 1)" "$(jobs_here)"
    separator=
    for row in "${rows[@]}"; do
      IFS=';' read -r name seconds megabytes limit <<<"$row"
      printf '%s\n  {"name": "%s", "seconds": %s, "megabytes": %s, "limit_seconds": %s}' \
        "$separator" "${name#  }" "$seconds" "${megabytes:-null}" "$limit"
      separator=,
    done
    printf '\n]}\n'
  } >"$json"
  echo "Written to $json"
fi
