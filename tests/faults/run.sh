#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/support/setup.sh

usage() {
  cat <<'TEXT'
Usage: bash tests/faults/run.sh [--applies] [NAME...]

Shows that the tests notice errors which are common in other trainers: puts each fault of tests/faults/*.patch (all, or
the NAMEs) into a copy of the library and runs the test that it names, which must pass without the fault and fail with
it. Uses the release build's test framework (build it first: bash tests/run.sh). About a minute a fault.

  --applies  only checks that every fault still applies to the library and names a test that is there
TEXT
}

applies=no
names=()
while [ $# -gt 0 ]; do
  case $1 in
    --applies) applies=yes ;;
    --help | -h) usage; exit ;;
    -*) echo "run.sh: unknown option '$1'; valid are --applies, --help" >&2; exit 2 ;;
    *) names+=("$1") ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || for patch in tests/faults/*.patch; do names+=("$(basename "$patch" .patch)"); done

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
wrong=0

# with_fault NAME: a copy of the library with the fault, in $copy/include.
with_fault() {
  rm -rf "$copy/include"
  cp -r include "$copy/include"
  patch --quiet --forward --fuzz=0 --directory="$copy" --strip=1 --input="$PWD/tests/faults/$1.patch" >"$copy/patch.log" ||
    { echo "$1: does not apply any more: $(tail -n 1 "$copy/patch.log")"; return 1; }
}

# compile INCLUDE FILE PROGRAM: a test file against a library.
compile() {
  "$compiler" -I "$1" @"$folder/tests/compile_flags.rsp" -O1 -w -I examples -I tests/support \
    -I "tests/unit/$(dirname "$2")" -DRETORT_TESTS_DIR="\"$PWD/tests\"" "tests/unit/$2" \
    "$folder/tests/libretort_test_main.a" -lfmt ${catch_library:+"$catch_library"} -o "$3" >"$copy/compile.log" 2>&1 ||
    { tail -n 5 "$copy/compile.log"; return 1; }
}

# result_of PROGRAM CASE: passes, fails or missing.
result_of() {
  local status=0
  "$1" "$(printf '%s*' "$2" | sed 's/,/\\,/g')" >"$copy/test.log" 2>&1 || status=$?
  if grep -q "No test cases matched" "$copy/test.log"; then echo missing; elif [ $status = 0 ]; then echo passes; else echo fails; fi
}

if [ $applies = no ]; then
  choose_build_key
  folder=build/release$RETORT_BUILD_KEY
  [ -f "$folder/tests/libretort_test_main.a" ] ||
    { echo "run.sh: no test framework in $folder, build it first: bash tests/run.sh" >&2; exit 2; }
  compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$folder/CMakeCache.txt")
  catch_library=$(find /usr/lib /usr/local/lib -name 'libCatch2.a' 2>/dev/null | head -n 1)
fi
for name in "${names[@]}"; do
  [ -f "tests/faults/$name.patch" ] || { echo "run.sh: there is no tests/faults/$name.patch" >&2; exit 2; }
  test=$(sed -n 's/^Test: //p' "tests/faults/$name.patch")
  file=${test%%: *} case=${test#*: }
  with_fault "$name" || { wrong=$((wrong + 1)); continue; }
  grep -qF "\"$case" "tests/unit/$file" || { echo "$name: tests/unit/$file has no test \"$case\""; wrong=$((wrong + 1)); continue; }
  [ $applies = no ] || continue
  plain=$copy/${file//\//_}.plain
  { [ -f "$plain" ] || compile include "$file" "$plain"; } && compile "$copy/include" "$file" "$copy/faulty" ||
    { echo "$name: does not compile"; wrong=$((wrong + 1)); continue; }
  before=$(result_of "$plain" "$case")
  after=$(result_of "$copy/faulty" "$case")
  printf '%-32s %s without it, %s with it: %s\n' "$name" "$before" "$after" "$case"
  [ "$before,$after" = passes,fails ] || wrong=$((wrong + 1))
done
[ $wrong = 0 ] || { echo "$wrong of ${#names[@]} faults are not as they should be" >&2; exit 1; }
