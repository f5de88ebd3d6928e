#!/usr/bin/env bash
# Usage: check_layers.sh INCLUDE_DIR
# Checks who includes whom below INCLUDE_DIR/retort; each violation is one line "file:line: rule", and the status is 1.
# Only bash and awk are needed.
set -euo pipefail
cd "$1"

# A folder may include itself and the folders named here; docs/architecture.md says why.
export rules='
core
tensor      core
kernels     core tensor
autograd    core tensor kernels
ops         core tensor kernels autograd
nn          core tensor kernels autograd ops
models      core tensor kernels autograd ops nn
generate    core tensor kernels autograd ops nn models
distill     core tensor kernels autograd ops nn models generate
optim       core tensor kernels autograd
text        core
data        core tensor text
eval        core tensor kernels autograd ops nn models text data
io          core tensor kernels autograd ops nn models optim text data
training    core tensor kernels autograd ops nn models generate distill optim text data eval io
'

find retort -type f \( -name '*.hpp' -o -name '*.cuh' -o -name '*.cu' -o -name '*.cpp' \) | LC_ALL=C sort |
  xargs awk '
function complain(rule) { printf "%s:%d: %s\n", FILENAME, FNR, rule; bad = 1 }

BEGIN {
  # The headers that device code may include, besides .cuh files: they need neither fmt nor Eigen.
  for_devices = "^retort/(core/(activations|bf16|functors|host_device|math|philox|sampling|scalar)|kernels/contract" \
                "|kernels/cuda|kernels/cuda/(recording|runtime)|tensor/device|tensor/memory|distill/divergences)\\.hpp$"
  count = split(ENVIRON["rules"], lines, "\n")
  for (i = 1; i <= count; ++i) {
    n = split(lines[i], names, " ")
    if (n == 0) continue
    known[names[1]] = 1
    for (j = 1; j <= n; ++j) allowed[names[1], names[j]] = 1
    if (lines[i] ~ /^(core|tensor|kernels|autograd|ops|nn|models|generate|distill) */) tower[names[1]] = 1
  }
}

FNR == 1 {
  depth = split(FILENAME, path, "/")
  folder = depth > 2 ? path[2] : ""          # "": retort.hpp and version.hpp, which stand above all
  device_source = FILENAME ~ /\.cuh?$/
  if (folder != "" && !(folder in known))
    complain("retort/" folder " is not a folder of check_layers.sh: add it to the rules")
}

/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
  target = $0
  sub(/^[^<"]*[<"]/, "", target)
  sub(/[>"].*/, "", target)

  if ($0 ~ /include[ \t]*"/ && target !~ /^retort\//)
    complain("\"" target "\": our headers are named by their whole path, \"retort/...\", others in <>")
  if (target == "retort/retort.hpp")
    complain("nothing inside the library includes retort/retort.hpp")
  if (target ~ /^(unsupported\/)?Eigen\// && FILENAME !~ /^retort\/kernels\/cpu\//)
    complain("<" target ">: only retort/kernels/cpu includes Eigen")
  if (target ~ /^(nlohmann|CLI)\// && folder in tower)
    complain("<" target ">: retort/core to retort/distill need Eigen and fmt alone")
  if (target ~ /^(pcre2|utf8proc|sentencepiece_processor)\.h$/ && folder != "text")
    complain("<" target ">: only retort/text includes the libraries of the tokenizers")
  if (target ~ /^CLI\// && !(folder in tower))
    complain("<" target ">: command lines belong to programs")
  if (device_source && target ~ /^(fmt|Eigen|unsupported|catch2|nlohmann)\//)
    complain("<" target ">: a .cuh or .cu file includes no host library")

  if (target ~ /^retort\// && target != "retort/retort.hpp") {
    n = split(target, parts, "/")
    to = n > 2 ? parts[2] : ""
    if (folder != "" && to != "" && to in known && !((folder, to) in allowed))
      complain("retort/" folder " may not include retort/" to " (" target ")")
    else if (to != "" && !(to in known))
      complain("retort/" to " is not a folder of check_layers.sh: add it to the rules")
    if (device_source && target !~ /\.cuh$/ && target !~ for_devices)
      complain("a .cuh or .cu file includes other .cuh files and headers without fmt and Eigen, not " target)
  }
}

END { exit bad }
'
