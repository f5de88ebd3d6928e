#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/core/sparse_targets.hpp"
#include "retort/io/checksum.hpp"
#include "retort/io/memory_map.hpp"
#include "retort/io/teacher_file_format.hpp"

namespace retort {

/// A teacher file, memory-mapped: opening it reads header and index. Any number of threads may read it. Every
/// fault, a file of other data included, is a FileError that names the file, and the example if it is about
/// one.
///
///   const TeacherFile teacher("teacher.bin");
///   teacher.require(data);  // once, before a run
///   const auto loss = sparse_loss(ForwardKl{}, context, student, batch, teacher.targets(batch), total);
class TeacherFile {
 public:
  explicit TeacherFile(std::filesystem::path path) : path_(std::move(path)), map_(path_) { open(); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const TeacherFileInfo& info() const { return info_; }
  [[nodiscard]] std::size_t examples() const { return examples_; }
  [[nodiscard]] std::uint64_t prompt_tokens() const { return prompt_tokens_; }
  [[nodiscard]] std::uint64_t response_tokens() const { return response_tokens_; }

  /// The prompts and responses that the teacher was asked about, by ascending ids: the data of a run whose
  /// responses are samples that nobody else has kept.
  [[nodiscard]] Batch data() const {
    Batch batch;
    for (std::size_t i = 0; i < examples_; ++i) {
      const Record record = read(i);
      batch.push_back(ids(record.prompt, record.id, "token"), ids(record.response, record.id, "token"),
                      record.id);
    }
    return batch;
  }

  /// Throws unless the file has all examples of `data` with the same prompts and responses.
  void require(const Batch& data) const {
    data.check();
    for (int i = 0; i < data.size(); ++i)
      require_same(record_of(data.ids[static_cast<std::size_t>(i)]), data, i);
  }

  /// Throws if the file was made with another tokenizer than the one with this digest; nothing is known about
  /// an empty one.
  void require_tokenizer(const std::string& digest) const {
    if (!digest.empty() && !info_.tokenizer.empty() && digest != info_.tokenizer)
      complain("was made with another tokenizer: its digest is {} there and {} here", info_.tokenizer,
               digest);
  }

  /// The teacher's targets of a batch's responses. Throws for examples that the file does not have and for
  /// those with another prompt or response.
  [[nodiscard]] SparseTargets targets(const Batch& batch) const {
    batch.check();
    SparseTargets out{.k = info_.k, .vocabulary = info_.vocabulary, .temperature = info_.temperature};
    for (int i = 0; i < batch.size(); ++i) {
      const Record record = record_of(batch.ids[static_cast<std::size_t>(i)]);
      require_same(record, batch, i);
      const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
      append(out.ids, ids(record.top, record.id, "teacher's token"));
      append(out.log_p, numbers(record.log_p, record.id));
      append(out.log_tail, numbers(record.log_tail, record.id));
    }
    out.offsets = batch.responses.offsets;
    out.normalise();
    return out;
  }

  /// Of header, index and what the records say their own checksums are: two files with the same one say the
  /// same, as long as `verify` finds nothing.
  [[nodiscard]] std::uint64_t checksum() const {
    Checksum sum;
    sum.update(map_.bytes().last(8));
    for (std::size_t i = 0; i < examples_; ++i) {
      const auto [bytes, prompt, response] = place(i);
      sum.update(bytes.last(8));
    }
    return sum.value();
  }

  /// Reads everything. Throws if a record is damaged.
  void verify() const {
    std::uint64_t prompts = 0, responses = 0;
    for (std::size_t i = 0; i < examples_; ++i) {
      const Record record = read(i);
      prompts += record.prompt.size() / info_.id_bytes();
      responses += record.response.size() / info_.id_bytes();
    }
    if (prompts != prompt_tokens_ || responses != response_tokens_)
      damaged("its records have {} prompt and {} response tokens, its footer counts {} and {}", prompts,
              responses, prompt_tokens_, response_tokens_);
  }

 private:
  using Bytes = std::span<const std::byte>;
  /// An example as its bytes.
  struct Record {
    std::uint64_t id;
    Bytes prompt = {}, response = {}, top = {}, log_p = {}, log_tail = {};
  };

  std::filesystem::path path_;
  MemoryMap map_;
  TeacherFileInfo info_;
  Bytes records_;  // from the beginning of the file, so that offsets are the file's
  Bytes index_;
  std::size_t examples_ = 0;
  std::uint64_t prompt_tokens_ = 0, response_tokens_ = 0;

  template <class... Args>
  [[noreturn]] void complain(fmt::format_string<Args...> format, Args&&... args) const {
    fail<FileError>("teacher_file", "'{}' {}", path_.string(),
                    fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  [[noreturn]] void damaged(fmt::format_string<Args...> format, Args&&... args) const {
    complain("is damaged or truncated: {}", fmt::format(format, std::forward<Args>(args)...));
  }

  void open() {
    static_assert(std::endian::native == std::endian::little);
    constexpr auto magic = detail::teacher_magic;
    constexpr std::size_t prefix = magic.size() + sizeof(std::uint64_t);
    const Bytes bytes = map_.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!text.starts_with(magic)) {
      if (text.size() >= magic.size() && text.starts_with(magic.substr(0, magic.size() - 1)))
        complain("is a teacher file of version '{}', this library reads version 1", text[magic.size() - 1]);
      complain("is no teacher file: it does not begin with '{}'", magic);
    }
    if (bytes.size() < prefix + detail::teacher_footer_bytes) damaged("it has {} bytes", bytes.size());
    const auto header = detail::read_number<std::uint64_t>(bytes, magic.size());
    const Bytes footer = bytes.last(detail::teacher_footer_bytes);
    const auto number = [&](std::size_t i) { return detail::read_number<std::uint64_t>(footer, 8 * i); };
    const std::uint64_t index_at = number(0), count = number(1), footer_at = bytes.size() - footer.size();
    if (header > footer_at - prefix || index_at < prefix + header || index_at > footer_at ||
        (footer_at - index_at) / 16 != count || (footer_at - index_at) % 16 != 0)
      damaged("header and index do not fit the {} bytes that it has", bytes.size());
    Checksum sum;
    sum.update(bytes.first(prefix + header));
    sum.update(bytes.subspan(index_at, bytes.size() - 8 - index_at));
    if (sum.value() != number(4)) damaged("the checksum of header and index is wrong");
    records_ = bytes.first(index_at);
    index_ = bytes.subspan(index_at, footer_at - index_at);
    examples_ = count, prompt_tokens_ = number(2), response_tokens_ = number(3);
    read_header(text.substr(prefix, header));
    for (std::size_t i = 1; i < examples_; ++i)
      if (id_at(i - 1) >= id_at(i)) damaged("its index is not ordered at example {}", id_at(i));
  }

  void read_header(std::string_view text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    try {
      info_ = {.k = json.at("k").get<Index>(),
               .vocabulary = json.at("vocabulary").get<Index>(),
               .temperature = json.at("temperature").get<double>(),
               .dtype = json.at("dtype").get<std::string>(),
               .tokenizer = json.at("tokenizer").get<std::string>(),
               .teacher = json.at("teacher").get<std::string>()};
    } catch (const nlohmann::json::exception& error) {
      complain("has a header that cannot be read: {}", error.what());
    }
    if (const char* problem = info_.problem()) complain("has an impossible header: {}", problem);
  }

  [[nodiscard]] std::uint64_t id_at(std::size_t i) const {
    return detail::read_number<std::uint64_t>(index_, 16 * i);
  }

  [[nodiscard]] Record record_of(std::uint64_t id) const {
    std::size_t low = 0, high = examples_;
    while (low < high) {
      const std::size_t middle = low + (high - low) / 2;
      (id_at(middle) < id ? low : high) = id_at(middle) < id ? middle + 1 : middle;
    }
    if (low == examples_ || id_at(low) != id) complain("has no example {}: it was made from other data", id);
    return read(low);
  }

  /// Where an example stands in the file: its record with the checksum, and how many tokens it has.
  struct Place {
    Bytes bytes;
    std::size_t prompt, response;
  };
  [[nodiscard]] Place place(std::size_t i) const {
    const auto at = detail::read_number<std::uint64_t>(index_, 16 * i + 8);
    if (at > records_.size() || records_.size() - at < 16)
      damaged("the record of example {} is not among its records", id_at(i));
    const Bytes rest = records_.subspan(at);
    const std::size_t prompt = detail::read_number<std::uint32_t>(rest, 0),
                      response = detail::read_number<std::uint32_t>(rest, 4);
    const std::size_t head = 8 + prompt * info_.id_bytes();
    if (head > rest.size() - 8 || response > (rest.size() - 8 - head) / info_.row_bytes())
      damaged("example {} has {} + {} tokens, more than there is room for", id_at(i), prompt, response);
    return {rest.first(head + response * info_.row_bytes() + 8), prompt, response};
  }

  /// The example at place `i` of the index, its checksum compared.
  [[nodiscard]] Record read(std::size_t i) const {
    Record record{.id = id_at(i)};
    const std::size_t width = info_.id_bytes(), bytes = dtype_bytes(info_.dtype), k = std::size_t(info_.k);
    const auto [rest, prompt, response] = place(i);
    Checksum sum;
    sum.update(rest.first(rest.size() - 8));
    if (sum.value() != detail::read_number<std::uint64_t>(rest, rest.size() - 8))
      damaged("the checksum of example {} is wrong", record.id);
    std::size_t begin = 8;
    const auto next = [&, record_bytes = rest](std::size_t length) {
      begin += length;
      return record_bytes.subspan(begin - length, length);
    };
    record.prompt = next(prompt * width);
    record.response = next(response * width);
    record.top = next(response * k * width);
    record.log_p = next(response * k * bytes);
    record.log_tail = next(response * bytes);
    return record;
  }

  [[nodiscard]] std::vector<std::int32_t> ids(Bytes bytes, std::uint64_t example, const char* what) const {
    std::vector<std::int32_t> out(bytes.size() / info_.id_bytes());
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = info_.id_bytes() == 2 ? detail::read_number<std::uint16_t>(bytes, 2 * i)
                                     : detail::read_number<std::int32_t>(bytes, 4 * i);
      if (out[i] < 0 || out[i] >= info_.vocabulary)
        damaged("a {} of example {} is {}, outside the vocabulary of {}", what, example, out[i],
                info_.vocabulary);
    }
    return out;
  }

  [[nodiscard]] std::vector<double> numbers(Bytes bytes, std::uint64_t example) const {
    std::vector<double> out(bytes.size() / dtype_bytes(info_.dtype));
    (void)convert(info_.dtype, bytes.data(), std::span(out));
    for (const double x : out)
      if (!(x <= 0)) damaged("a log-probability of example {} is {}", example, x);
    return out;
  }

  void require_same(const Record& record, const Batch& batch, int i) const {
    const auto compare = [&](Bytes there, std::span<const std::int32_t> here, const char* what) {
      const auto stored = ids(there, record.id, "token");
      if (std::ranges::equal(stored, here)) return;
      const auto at = std::ranges::mismatch(stored, here).in1 - stored.begin();
      complain(
          "is of other data: the {} of example {} has {} tokens there and {} here, the same up to "
          "token {}",
          what, record.id, stored.size(), here.size(), at);
    };
    compare(record.prompt, batch.prompts[i], "prompt");
    compare(record.response, batch.responses[i], "response");
  }
};

}  // namespace retort
