#!/usr/bin/env bash
# Usage: custom_divergence.sh PROGRAM FOLDER: runs examples/custom_divergence's program: its gradient check passes, and
# distillation brings the student nearer to its teacher.
set -euo pipefail
program=$1 folder=$2
. "$(dirname "${BASH_SOURCE[0]}")/frame.sh" "$folder"

"$program" >out.txt 2>err.txt || failed "status $?: $(cat out.txt err.txt)"
[ "$(grep -c '^gradient check' out.txt)" = 3 ] || failed "not three gradient checks: $(cat out.txt)"
# WHEN COLUMN: the number after that column's name.
number() { sed -n "s/^$1 .*$2 \([0-9.]*\).*/\1/p" out.txt; }
for column in Hellinger 'reverse KL'; do
  awk -v before="$(number before "$column")" -v after="$(number after "$column")" \
    'BEGIN { exit !(before > 0 && after > 0 && after < 0.6 * before) }' || failed "the $column does not fall: $(cat out.txt)"
done

status=0
"$program" --device tpu >out.txt 2>err.txt || status=$?
[ $status = 2 ] || failed "status $status for a wrong flag"
[ "$(wc -l <err.txt)" = 1 ] || failed "more than one line: $(cat err.txt)"
grep -q '^custom_divergence: --device: tpu not in' err.txt || failed "another message: $(cat err.txt)"
echo "ok: custom_divergence"
