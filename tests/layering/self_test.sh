#!/usr/bin/env bash
# check_layers.sh finds nothing in the tree "good", and in the tree "bad" just what expected.txt lists.
set -euo pipefail
cd "$(dirname "$0")"

bash check_layers.sh good || { echo "the good tree was refused"; exit 1; }
if found=$(bash check_layers.sh bad); then
  echo "the bad tree passed"
  exit 1
fi
diff bad/expected.txt - <<<"$found" && echo "both trees judged as expected"
