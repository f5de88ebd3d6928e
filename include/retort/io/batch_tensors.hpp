#pragma once

#include <string>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/io/safetensors.hpp"

/// Token sequences in a checkpoint: what a method has sampled and not yet used.
namespace retort {

/// Adds `sequences` as tensors <name>.tokens and <name>.offsets.
inline void save_sequences(SafetensorsWriter& writer, const std::string& name, const Sequences& sequences) {
  writer.add(name + ".tokens", Shape{std::ssize(sequences.tokens)}, sequences.tokens);
  writer.add(name + ".offsets", Shape{std::ssize(sequences.offsets)}, sequences.offsets);
}

/// Reads what `save_sequences` added. Throws FileError if it is not there or no list of sequences.
[[nodiscard]] inline Sequences load_sequences(const SafetensorsFile& file, const std::string& name) {
  Sequences out{file.read<std::int32_t>(name + ".tokens"), file.read<std::int32_t>(name + ".offsets")};
  bool fits = !out.offsets.empty() && out.offsets.front() == 0 &&
              out.offsets.back() == std::ssize(out.tokens) && std::ranges::is_sorted(out.offsets);
  if (!fits) fail<FileError>("load", "'{}': {} is no list of sequences", file.path().string(), name);
  return out;
}

/// Adds a batch under <name>.prompts, <name>.responses and <name>.ids.
inline void save_batch(SafetensorsWriter& writer, const std::string& name, const Batch& batch) {
  save_sequences(writer, name + ".prompts", batch.prompts);
  save_sequences(writer, name + ".responses", batch.responses);
  const std::vector<std::int64_t> ids(batch.ids.begin(), batch.ids.end());
  writer.add(name + ".ids", Shape{std::ssize(ids)}, ids);
}

/// Reads what `save_batch` added; FileError if it does not fit together.
[[nodiscard]] inline Batch load_batch(const SafetensorsFile& file, const std::string& name) {
  Batch out{load_sequences(file, name + ".prompts"), load_sequences(file, name + ".responses"), {}};
  for (const std::int64_t id : file.read<std::int64_t>(name + ".ids"))
    out.ids.push_back(static_cast<std::uint64_t>(id));
  if (out.responses.size() != out.prompts.size() || std::ssize(out.ids) != out.prompts.size())
    fail<FileError>("load", "'{}': {} has {} prompts, {} responses and {} ids", file.path().string(), name,
                    out.prompts.size(), out.responses.size(), out.ids.size());
  return out;
}

}  // namespace retort
