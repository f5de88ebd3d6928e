#!/usr/bin/env bash
# Usage: tests/parity/check_all.sh --python PYTHON --model FOLDER --build FOLDER
# The checks against transformers and PEFT that tests skip where Python or a real model is not there: prints a table of
# the largest differences, and fails if one is too large.
#
# PYTHON has what requirements.txt names, and peft; --model is a Hugging Face folder of a decoder (SmolLM2-135M, say);
# --build a folder in which test_parity was built (build/release). Needs about 10 bytes of memory a weight.
set -euo pipefail
python=python3 model='' build=''
while [ $# -gt 0 ]; do
  case $1 in
  --python) python=${2:?} ;;
  --model) model=${2:?} ;;
  --build) build=${2:?} ;;
  *) echo "check_all.sh --python PYTHON --model FOLDER --build FOLDER" >&2 && exit 2 ;;
  esac
  shift 2
done
here=$(cd "$(dirname "$0")" && pwd)
test_parity=$build/tests/test_parity
[ -x "$test_parity" ] || { echo "check_all.sh: no program $test_parity" >&2; exit 2; }
[ -f "$model/config.json" ] || { echo "check_all.sh: '$model' has no config.json" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What a check says stands in a file, and is shown if the check fails.
quietly() {  # FILE COMMAND...
  local file=$work/$1.log
  shift
  "$@" >"$file" 2>&1 || { cat "$file" >&2; echo "FAILED: $*" >&2; exit 1; }
}
# The largest number that follows a text in a file.
largest() { grep -oE "$2 [0-9.e+-]+" "$work/$1.log" | grep -oE '[0-9.]+e[+-][0-9]+$' | sort -g | tail -1; }
row() { printf '| %s | %s | %s |\n' "$@"; }

export TRANSFORMERS_OFFLINE=1 HF_HUB_OFFLINE=1
RETORT_EXPORTS=$work/models quietly exports "$test_parity" "trained models are written for transformers to read"
quietly models "$python" "$here/models/check_export.py" "$work/models"
RETORT_EXPORTS=$work/adapters quietly exports "$test_parity" "adapters are written for PEFT to read"
quietly adapters "$python" "$here/adapters/make_adapter_fixtures.py" "$work/adapters"
quietly fixture "$python" "$here/models/make_large_fixture.py" "$model" "$work/large"
RETORT_LARGE_MODEL=$model RETORT_LARGE_FIXTURE=$work/large quietly real "$test_parity" "a real checkpoint*"

"$python" -c 'import platform, torch, transformers, peft
print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")'
echo
row check "largest difference" allowed
row --- --- ---
row "logits of $(grep -c 'logits apart' "$work/models.log") trained models, exported, loaded by transformers with nothing missing or left over" \
  "$(largest models 'logits apart')" 1e-4
row "logits of $(grep -c 'logits apart' "$work/adapters.log") models with adapters, written by retort, loaded by PEFT (relative above 1, PEFT in float64)" \
  "$(largest adapters 'logits apart')" 1e-5
row "the same, merged by PEFT" "$(largest adapters merged)" 1e-5
row "1,000 log-probabilities of $(basename "$model"), both in float32" "$(largest real 'apart by at most')" 2e-4
row "32 greedy tokens to each of ten prompts" "none differs" none
