#!/usr/bin/env bash
# Usage: check.sh FILE.cpp COMPILER [FLAG...]
# Passes if the compiler refuses FILE.cpp, its messages match every line "// expect: REGEX" of the file (extended
# regular expressions, each found in one line of the messages), and FILE.cpp compiles with RETORT_OK defined.
set -u
file=$1
shift
export LC_ALL=C

fail() {
  echo "FAILED: $1"
  echo "  in $file"
  exit 1
}

mapfile -t expected < <(sed -n 's|^ *// expect: *||p' "$file")
[ ${#expected[@]} -gt 0 ] || fail "no line '// expect: REGEX'"

messages=$("$@" -fsyntax-only "$file" 2>&1) && fail "it compiles, but it must not"
for regex in "${expected[@]}"; do
  if ! grep -qE -- "$regex" <<<"$messages"; then
    echo "$messages"
    fail "the compiler does not say '$regex'"
  fi
done

allowed=$("$@" -fsyntax-only -DRETORT_OK "$file" 2>&1) || {
  echo "$allowed"
  fail "with RETORT_OK it does not compile either"
}
grep -E -m 3 -- "${expected[0]}" <<<"$messages"
