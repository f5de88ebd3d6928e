#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "retort/core/scalar.hpp"
#include "retort/io/dtype.hpp"

/// A teacher file: prompts and responses with the teacher's `SparseTargets` of every response token, written
/// once by TeacherFileWriter, read by example by TeacherFile. Numbers are little-endian, ids 16 bits wide if
/// the vocabulary fits, else 32.
///
///   magic      "retort.teacher 1"
///   header     u64 its length; JSON: what TeacherFileInfo names
///   records    one an example: u32 prompt tokens P, u32 response tokens L; P + L ids, prompt and response;
///              L k ids, the teacher's most probable tokens at each response token; L k log-probabilities of
///              these; L tails, log-probabilities of all others; u64 checksum of the record up to here
///   index      u64 example, u64 offset of its record; by ascending examples
///   footer     u64 offset of the index, u64 examples, u64 prompt tokens, u64 response tokens; u64 checksum
///              of magic, header, index and footer up to here
///
/// Checksums are XXH64 (checksum.hpp). A record is checked when it is read, the rest when the file is opened.
namespace retort {

/// What is said once about all records of a teacher file.
struct TeacherFileInfo {
  Index k = 50;                ///< tokens of the teacher kept at each response token
  Index vocabulary = 0;        ///< how many tokens the teacher's distribution is over
  double temperature = 1;      ///< the teacher's logits were divided by it
  std::string dtype = "F16";   ///< of log-probabilities: F16, BF16 or F32
  std::string tokenizer = {};  ///< a digest of the tokenizer; empty: not known
  std::string teacher = {};    ///< which model; free text

  template <class F>
  void each_field(F&& f) const {
    f("k", k), f("vocabulary", vocabulary), f("temperature", temperature), f("dtype", dtype);
    f("tokenizer", tokenizer), f("teacher", teacher);
  }

  /// What is wrong with the numbers, or nullptr.
  [[nodiscard]] const char* problem() const {
    if (k < 1 || vocabulary < k || vocabulary > 0x7fffffff)
      return "k must be at least 1 and at most the vocabulary, which must be below 2^31";
    if (!(temperature > 0 && temperature < 1e300)) return "the temperature must be a number above 0";
    return dtype == "F16" || dtype == "BF16" || dtype == "F32" ? nullptr : "dtype must be F16, BF16 or F32";
  }

  [[nodiscard]] std::size_t id_bytes() const { return vocabulary <= 0x10000 ? 2 : 4; }
  /// Bytes of what is stored for each response token, the token itself included.
  [[nodiscard]] std::size_t row_bytes() const {
    const auto n = static_cast<std::size_t>(k);
    return (n + 1) * id_bytes() + (n + 1) * dtype_bytes(dtype);
  }
};

namespace detail {

inline constexpr std::string_view teacher_magic = "retort.teacher 1";
inline constexpr std::size_t teacher_footer_bytes = 40;

/// A number at any alignment.
template <class Number>
[[nodiscard]] Number read_number(std::span<const std::byte> bytes, std::size_t at) {
  Number x;
  std::memcpy(&x, bytes.data() + at, sizeof x);
  return x;
}

}  // namespace detail

}  // namespace retort
