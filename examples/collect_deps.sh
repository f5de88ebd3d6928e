#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: bash examples/collect_deps.sh FOLDER

Copies the headers that retort is built with (Eigen, fmt, Catch2, CLI11, nlohmann_json) from this machine's packages to
FOLDER, about 10 MB. On a machine without them, a GPU node without a package manager for example:

  cmake -S retort -B build -DRETORT_DEPS=FOLDER -DRETORT_CUDA=ON

Tokenizers (PCRE2, utf8proc, SentencePiece) are libraries and cannot be carried like this: they are left out there.
TEXT
}

case ${1:---help} in
  --help | -h) usage; exit ;;
  -*) echo "collect_deps.sh: unknown option '$1'; the only argument is a folder" >&2; exit 2 ;;
esac
folder=$1
mkdir -p "$folder"

# copy NAME HEADER DIRECTORY...: DIRECTORY/HEADER is where a package has its headers
copy() {
  local name=$1 header=$2 place
  for place in "${@:3}"; do
    [ -e "$place/$header" ] || continue
    rm -rf "${folder:?}/$header"
    cp -rL "$place/$header" "$folder/$header"
    echo "$name: $place/$header"
    return
  done
  echo "collect_deps.sh: $name was not found (looked for $header in ${*:3})" >&2
  exit 2
}

copy Eigen Eigen /usr/include/eigen3 /usr/local/include/eigen3 /opt/homebrew/include/eigen3
copy fmt fmt /usr/include /usr/local/include /opt/homebrew/include
copy Catch2 catch2 /usr/include /usr/local/include /opt/homebrew/include
copy CLI11 CLI /usr/include /usr/local/include /opt/homebrew/include
copy nlohmann_json nlohmann /usr/include /usr/local/include /opt/homebrew/include
