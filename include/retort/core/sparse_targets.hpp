#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/math.hpp"
#include "retort/core/scalar.hpp"
#include "retort/core/sequences.hpp"

namespace retort {

/// What a teacher says about the tokens of some responses, in short: at each response token its k most
/// probable next tokens, and the probability of all others together (the tail). Token t of response i has row
/// r = offsets[i] + t. Made by `sparse_targets` (retort/distill/sparse_teacher.hpp), kept in files by
/// retort/io/teacher_file.hpp, used by `sparse_loss`.
struct SparseTargets {
  Index k = 0;                         ///< tokens a row, at least 1
  Index vocabulary = 0;                ///< how many tokens the teacher's distribution is over, at least k
  double temperature = 1;              ///< the teacher's logits were divided by it
  std::vector<std::int32_t> ids = {};  ///< (rows, k): the most probable first
  std::vector<double> log_p = {};      ///< (rows, k): their log-probabilities
  std::vector<double> log_tail = {};   ///< (rows): log-probability of the others; -inf if there are none
  std::vector<std::int32_t> offsets = {0};  ///< size() + 1 ascending numbers from 0 to rows()

  /// Number of responses.
  [[nodiscard]] int size() const { return static_cast<int>(offsets.size()) - 1; }
  /// Number of response tokens.
  [[nodiscard]] Index rows() const { return static_cast<Index>(log_tail.size()); }
  /// Number of tokens of response `i`. ShapeError if there is no such response.
  [[nodiscard]] int length(int i) const {
    if (i < 0 || i >= size())
      fail<ShapeError>("SparseTargets", "response {} was asked for, but there are {}", i, size());
    return offsets[static_cast<std::size_t>(i) + 1] - offsets[static_cast<std::size_t>(i)];
  }

  /// The same teacher's targets without a response.
  [[nodiscard]] SparseTargets none() const {
    return {.k = k, .vocabulary = vocabulary, .temperature = temperature};
  }

  /// Appends the responses `rows` of other targets of the same teacher: ValueError if k, vocabulary or
  /// temperature differ.
  void append(const SparseTargets& other, std::span<const int> responses) {
    if (other.k != k || other.vocabulary != vocabulary || other.temperature != temperature)
      fail<ValueError>("SparseTargets",
                       "targets of k {}, vocabulary {} and temperature {} cannot follow those of k {}, "
                       "vocabulary {} and temperature {}",
                       other.k, other.vocabulary, other.temperature, k, vocabulary, temperature);
    for (const int i : responses) {
      const int length = other.length(i), first = other.offsets[static_cast<std::size_t>(i)];
      const auto copy = [&](const auto& from, auto& to, Index width) {
        const auto begin = from.begin() + first * width;
        to.insert(to.end(), begin, begin + length * width);
      };
      copy(other.ids, ids, k), copy(other.log_p, log_p, k), copy(other.log_tail, log_tail, 1);
      if (rows() > std::numeric_limits<std::int32_t>::max())
        fail<ValueError>("SparseTargets", "{} rows are more than 32-bit offsets can count", rows());
      offsets.push_back(static_cast<std::int32_t>(rows()));
    }
  }

  /// The responses `rows`, in that order; a row may be named several times.
  [[nodiscard]] SparseTargets select(std::span<const int> responses) const {
    SparseTargets out = none();
    out.append(*this, responses);
    return out;
  }

  /// Responses [begin, end): those of a micro-batch. ShapeError unless 0 <= begin <= end <= size().
  [[nodiscard]] SparseTargets slice(int begin, int end) const {
    if (begin < 0 || end < begin || end > size())
      fail<ShapeError>("SparseTargets", "responses [{}, {}) were asked for, but there are {}", begin, end,
                       size());
    std::vector<int> responses(static_cast<std::size_t>(end - begin));
    std::iota(responses.begin(), responses.end(), begin);
    return select(responses);
  }

  /// The `fewer` most probable tokens of each row; the others join the tail. ValueError unless
  /// 1 <= fewer <= k.
  [[nodiscard]] SparseTargets top(Index fewer) const {
    if (fewer < 1 || fewer > k)
      fail<ValueError>("SparseTargets", "{} tokens a row were asked for, expected 1 to {}", fewer, k);
    SparseTargets out = none();
    out.k = fewer;
    out.offsets = offsets;
    for (Index r = 0; r < rows(); ++r) {
      const auto id = ids.begin() + r * k;
      const auto p = log_p.begin() + r * k;
      out.ids.insert(out.ids.end(), id, id + fewer);
      out.log_p.insert(out.log_p.end(), p, p + fewer);
      double tail = log_tail[static_cast<std::size_t>(r)];
      for (Index i = k - 1; i >= fewer; --i) tail = math::log_add_exp(tail, p[i]);
      out.log_tail.push_back(tail);
    }
    return out;
  }

  /// Scales every row to a sum of 1: rounding of stored log-probabilities moves it.
  void normalise() {
    for (Index r = 0; r < rows(); ++r) {
      const double log_total = std::log(total(r));
      for (Index i = 0; i < k; ++i) log_p[static_cast<std::size_t>(r * k + i)] -= log_total;
      log_tail[static_cast<std::size_t>(r)] -= log_total;
    }
  }

  /// Throws ValueError unless the numbers are those of a teacher: sizes that fit each other, different tokens
  /// of the vocabulary in a row, whose probabilities and tail add up to 1, but for rounding to 16 bits.
  void check() const {
    const auto n = static_cast<std::size_t>(rows()), width = static_cast<std::size_t>(std::max<Index>(k, 0));
    if (k < 1 || vocabulary < k || !(temperature > 0))
      complain("k {}, vocabulary {} and temperature {}, expected 1 <= k <= vocabulary and temperature > 0", k,
               vocabulary, temperature);
    if (ids.size() != n * width || log_p.size() != n * width)
      complain("{} tokens and {} log-probabilities for {} rows of k {}", ids.size(), log_p.size(), n, k);
    if (offsets.empty() || offsets.front() != 0 || offsets.back() != rows() ||
        !std::ranges::is_sorted(offsets))
      complain("the offsets do not ascend from 0 to the number of rows, {}", n);
    std::vector<Index> seen(static_cast<std::size_t>(vocabulary), -1);  // the last row that has the token
    for (Index r = 0; r < rows(); ++r) {
      for (Index i = r * k; i < (r + 1) * k; ++i) {
        const auto id = ids[static_cast<std::size_t>(i)];
        if (id < 0 || id >= vocabulary)
          complain("token {} of row {} is outside the vocabulary of {}", id, r, vocabulary);
        if (seen[static_cast<std::size_t>(id)] == r) complain("row {} has the token {} twice", r, id);
        seen[static_cast<std::size_t>(id)] = r;
      }
      if (const double sum = total(r); !(std::abs(sum - 1) <= 0.05))
        complain("the probabilities of row {} and their tail add up to {:.4g}, expected 1", r, sum);
    }
  }

  friend bool operator==(const SparseTargets&, const SparseTargets&) = default;

 private:
  [[nodiscard]] double total(Index r) const {
    double sum = std::exp(log_tail[static_cast<std::size_t>(r)]);
    for (Index i = k - 1; i >= 0; --i) sum += std::exp(log_p[static_cast<std::size_t>(r * k + i)]);
    return sum;
  }

  template <class... Args>
  [[noreturn]] static void complain(fmt::format_string<Args...> format, Args&&... args) {
    fail<ValueError>("SparseTargets", "{}", fmt::format(format, std::forward<Args>(args)...));
  }
};

}  // namespace retort
