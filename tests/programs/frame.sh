# What the tests of programs share; each sources it with the folder to work in, which is emptied:
#   . "$(dirname "${BASH_SOURCE[0]}")/frame.sh" FOLDER
rm -rf "$1"
mkdir -p "$1"
cd "$1"

failed() { echo "FAILED: $*" >&2; exit 1; }

# refuses TEXT COMMAND...: the command ends with status 2 and, beside its progress, one line on standard error that has
# TEXT in it. Its output stays in out.txt and err.txt.
refuses() {
  local text=$1 status=0
  shift
  "$@" >out.txt 2>err.txt || status=$?
  [ $status = 2 ] || failed "status $status instead of 2: $* ($(cat err.txt))"
  grep -qF -- "$text" err.txt || failed "no '$text' in the message of: $*: $(cat err.txt)"
  [ "$(grep -vc ' steps  ' err.txt)" = 1 ] || failed "not one line beside the progress: $(cat err.txt)"
}
