#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/core/sparse_targets.hpp"
#include "retort/io/atomic_file.hpp"
#include "retort/io/checksum.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/io/teacher_file_format.hpp"

namespace retort {

/// Writes a teacher file, batch by batch, whole or not at all: until `finish` a file of this name stays as it
/// was. In memory are a record and the index.
///
///   TeacherFileWriter writer("teacher.bin", {.k = 50, .vocabulary = teacher.vocabulary()});
///   for (...) writer.add(batch, sparse_targets(teacher, batch, 50));
///   writer.finish();
class TeacherFileWriter {
 public:
  /// Throws ValueError for an info that cannot be, FileError if the file cannot be written.
  TeacherFileWriter(std::filesystem::path path, TeacherFileInfo info)
      : info_(std::move(info)), file_(std::move(path)) {
    static_assert(std::endian::native == std::endian::little);
    if (const char* problem = info_.problem())
      fail<ValueError>("teacher_file", "{}; given {}", problem, header_text());
    const std::string header = header_text();
    std::string bytes(detail::teacher_magic);
    append(bytes, std::uint64_t{header.size()});
    write_checked(bytes + header);
  }

  /// Adds the examples of a batch with what the teacher says about their responses. Throws ValueError, and
  /// adds nothing, for targets that are not the batch's or not those of the info, for an id that the file has
  /// already and for a token outside the vocabulary; FileError if the file cannot be written.
  void add(const Batch& batch, const SparseTargets& targets) {
    require_fit(batch, targets);
    for (int i = 0; i < batch.size(); ++i) {
      const std::string record = record_of(batch, targets, i);
      file_.write(record);
      index_.emplace(batch.ids[static_cast<std::size_t>(i)], at_);
      at_ += record.size();
      prompt_tokens_ += static_cast<std::uint64_t>(batch.prompts.length(i));
      response_tokens_ += static_cast<std::uint64_t>(batch.responses.length(i));
    }
  }

  /// Writes the index and gives the file its name. Nothing can be added afterwards.
  void finish() {
    const std::uint64_t index_at = at_;
    std::string bytes;
    for (const auto& [id, offset] : index_) append(append(bytes, id), offset);
    append(append(bytes, index_at), std::uint64_t{index_.size()});
    append(append(bytes, prompt_tokens_), response_tokens_);
    write_checked(bytes);
    bytes.clear();
    file_.write(append(bytes, sum_.value()));
    file_.commit();
  }

  [[nodiscard]] const TeacherFileInfo& info() const { return info_; }
  /// Number of examples so far.
  [[nodiscard]] std::size_t examples() const { return index_.size(); }

 private:
  TeacherFileInfo info_;
  AtomicFile file_;
  std::map<std::uint64_t, std::uint64_t> index_;  // offset of each example's record
  Checksum sum_;                                  // of everything but the records
  std::uint64_t at_ = 0, prompt_tokens_ = 0, response_tokens_ = 0;

  [[nodiscard]] std::string header_text() const {
    try {
      return to_json(info_).dump();
    } catch (const nlohmann::json::exception& error) {
      fail<ValueError>("teacher_file", "the name of a tokenizer or teacher is not text: {}", error.what());
    }
  }

  template <class Number>
  static std::string& append(std::string& bytes, Number x) {
    return bytes.append(reinterpret_cast<const char*>(&x), sizeof x);
  }

  void write_checked(const std::string& bytes) {
    sum_.update(std::as_bytes(std::span(bytes)));
    file_.write(bytes);
    at_ += bytes.size();
  }

  void require_fit(const Batch& batch, const SparseTargets& targets) const {
    batch.check();
    targets.check();
    if (targets.k != info_.k || targets.vocabulary != info_.vocabulary ||
        targets.temperature != info_.temperature)
      fail<ValueError>("teacher_file",
                       "targets of k {}, vocabulary {} and temperature {} for a file of k {}, vocabulary {} "
                       "and temperature {}",
                       targets.k, targets.vocabulary, targets.temperature, info_.k, info_.vocabulary,
                       info_.temperature);
    if (targets.offsets != batch.responses.offsets)
      fail<ValueError>("teacher_file",
                       "the targets are of other responses than the batch's: {} of {} tokens "
                       "for {} of {}",
                       targets.size(), targets.rows(), batch.size(), batch.responses.total());
    std::set<std::uint64_t> here;
    for (const auto id : batch.ids)
      if (index_.contains(id) || !here.insert(id).second)
        fail<ValueError>("teacher_file", "example {} is given twice", id);
    for (const auto* tokens : {&batch.prompts.tokens, &batch.responses.tokens})
      for (const auto token : *tokens)
        if (token < 0 || token >= info_.vocabulary)
          fail<ValueError>("teacher_file", "token {} is outside the vocabulary of {}", token,
                           info_.vocabulary);
  }

  [[nodiscard]] std::string record_of(const Batch& batch, const SparseTargets& targets, int example) const {
    const auto prompt = batch.prompts[example], response = batch.responses[example];
    const auto k = static_cast<std::size_t>(info_.k), length = response.size();
    const auto first = static_cast<std::size_t>(targets.offsets[static_cast<std::size_t>(example)]);
    std::string record;
    append(append(record, static_cast<std::uint32_t>(prompt.size())), static_cast<std::uint32_t>(length));
    append_ids(record, prompt), append_ids(record, response);
    append_ids(record, std::span(targets.ids).subspan(first * k, length * k));
    append_numbers(record, std::span(targets.log_p).subspan(first * k, length * k));
    append_numbers(record, std::span(targets.log_tail).subspan(first, length));
    Checksum sum;
    sum.update(std::as_bytes(std::span(record)));
    return append(record, sum.value());
  }

  void append_ids(std::string& bytes, std::span<const std::int32_t> ids) const {
    for (const auto id : ids)
      info_.id_bytes() == 2 ? append(bytes, static_cast<std::uint16_t>(id)) : append(bytes, id);
  }

  void append_numbers(std::string& bytes, std::span<const double> numbers) const {
    std::vector<double> values(numbers.begin(), numbers.end());
    for (double& x : values)  // what a half can hold, so that only what is -inf becomes -inf
      if (std::isfinite(x)) x = std::clamp(x, -65504.0, 0.0);
    const std::size_t at = bytes.size();
    bytes.resize(at + values.size() * dtype_bytes(info_.dtype));
    convert_to<double>(info_.dtype, values, reinterpret_cast<std::byte*>(bytes.data() + at));
  }
};

}  // namespace retort
