# The table of bench/kernel_audit.sh. Usage: awk -f kernel_audit.awk -v arch=80 LOG [SASS], the demangled outputs of ptxas -v
# and cuobjdump -sass. Ends with exit status 1 if a kernel keeps numbers in local memory.

# What kernels are launched with: threads of a block and bytes of dynamic shared memory. Rows have 32,768 numbers or
# more, heads the width in the kernel's name (64 where it has none), a sparse teacher 64 tokens.
function launched_with(name, w) {
  threads = 256; dynamic = 0
  w = name ~ /<32/ ? 32 : name ~ /<128/ ? 128 : 64
  if (name ~ /^flash_forward/) { threads = 128; dynamic = 2 * w * ((w <= 64 ? 128 : 64) + 4 * (name ~ /true/ ? 64 : 32)) }
  else if (name ~ /^flash_backward/) { threads = 128; dynamic = 2 * w * (128 + 256) + (name ~ /true>/ ? 1024 : 0) }
  else if (name ~ /^attention_(delta|dbias)/) threads = 128
  else if (name ~ /^attention_dkv/) { threads = 128; dynamic = 2048 }
  else if (name ~ /^attention/) { threads = 128; dynamic = 1024 }
  else if (name ~ /^(add_bias|column_parts)/) threads = 256
  else if (name ~ /^sparse_row_loss/) { threads = 512; dynamic = 776 }
  else if (name ~ /^top_k/) { threads = 512; dynamic = 256 }
  else if (name ~ /^(row_loss|cross_entropy|token_log_prob|row_sums|softmax|log_softmax|draw_tokens)/) threads = 512
  else if (name ~ /^(norm|take|scatter|copy_rows|append_rows|rotary|row_moment|join_sums)/) threads = 128
  else if (name ~ /^(join_columns|column_moment)/) threads = 64
  if (name ~ /^scatter_add_transposed/) threads = 64
}

function ceil_to(x, unit) { return int((x + unit - 1) / unit) * unit }

# The share of a multiprocessor's warps that can be resident (CUDA C++ Programming Guide, compute capabilities).
function occupancy(registers, shared, warps, most_warps, most_shared, blocks, by) {
  most_warps = 64; blocks = 32
  if (arch == 75) { most_warps = 32; blocks = 16 }
  if (arch == 86 || arch == 89 || arch == 120 || arch == 121) most_warps = 48
  if (arch == 86) blocks = 16
  if (arch == 89 || arch == 120 || arch == 121) blocks = 24
  most_shared = (arch == 75 ? 64 : arch == 80 || arch == 87 ? 164 : most_warps == 48 ? 100 : 228) * 1024
  warps = int((threads + 31) / 32)
  by = int(most_warps / warps)
  if (by < blocks) blocks = by
  by = int(int(65536 / ceil_to(registers * 32, 256) / 4) * 4 / warps)  # registers belong to one of four schedulers
  if (by < blocks) blocks = by
  by = int(most_shared / ceil_to(shared + (arch == 75 ? 0 : 1024), 128))  # 1 KB a block is the system's
  if (by < blocks) blocks = by
  return 100 * blocks * warps / most_warps
}

# "void retort::kernels::cuda::map_kernel<float, ...>(...)" without namespaces, arguments and return type.
function short_name(name, i, c, depth, kept) {
  sub(/^void /, "", name)
  for (i = 1; i <= length(name); ++i) {
    c = substr(name, i, 1)
    if (c == "<") ++depth
    if (c == ">") --depth
    if (c == "(" && depth == 0 && substr(name, i, 11) != "(anonymous ") break
    kept = kept c
  }
  gsub(/\(bool\)0/, "false", kept); gsub(/\(bool\)1/, "true", kept); gsub(/\(int\)/, "", kept)
  gsub(/(retort|kernels|cuda|detail|functors|std)::/, "", kept)
  gsub(/_kernel/, "", kept)
  gsub(/unsigned (short|int|long)/, "u&", kept); gsub(/uunsigned /, "u", kept)
  return kept
}

/Compiling entry function/ {
  kernel = $0
  sub(/^[^']*'/, "", kernel); sub(/' for 'sm_[0-9a-z]*'.*$/, "", kernel)
  kernels[++count] = kernel
  next
}
# A function that was not inlined has lines of its own; they count for the kernel before them.
/bytes stack frame/ {
  stack[kernel] += $1; stores[kernel] += $5; loads[kernel] += $9
  next
}
/ Used [0-9]+ registers/ {
  match($0, /Used [0-9]+/); registers[kernel] = substr($0, RSTART + 5, RLENGTH - 5)
  if (match($0, /[0-9]+ bytes smem/)) statics[kernel] = substr($0, RSTART, RLENGTH) + 0
  next
}
/^[ \t]*Function : / {
  inside = $0
  sub(/^[ \t]*Function : /, "", inside)
  disassembled = 1
  next
}
/^ *\/\*[0-9a-f]+\*\// {
  if (match($0, /LDG(STS)?\.E[.A-Z0-9]*/)) {
    ++global[inside]
    if (substr($0, RSTART, RLENGTH) ~ /\.128/) ++wide[inside]
  } else if ($0 ~ /[ \t](LDL|STL)[. ]/) {
    ++local[inside]
  }
}

END {
  for (i = 1; i <= count; ++i) {
    kernel = kernels[i]
    name = short_name(kernel)
    if (only != "" && name !~ only) continue
    launched_with(name)
    bad = stack[kernel] + stores[kernel] + loads[kernel] + local[kernel] > 0
    failed += bad
    of_loads = !disassembled ? "-" : global[kernel] == 0 ? "none" : \
      sprintf("%d/%d", wide[kernel], global[kernel])
    printf "%-58s sm_%-4s %5d %5d %7d %7d %5d/%-5d %5d %6s %5.0f %% %9s%s\n", name, arch, threads, registers[kernel],
      statics[kernel], dynamic, stores[kernel], loads[kernel], stack[kernel], disassembled ? local[kernel] + 0 : "-",
      occupancy(registers[kernel], statics[kernel] + dynamic), of_loads, bad ? "  <-- local memory" : ""
  }
  exit failed > 0
}
