#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/sequences.hpp"

namespace retort {

/// Examples of a conditional sequence task: `responses[i]` is an answer to `prompts[i]`. A data set and a
/// batch drawn from it are the same thing. `ids[i]` is the number of the example in its data set; it keys the
/// random numbers of that example, so a sample does not depend on the batch that it is drawn in.
struct Batch {
  Sequences prompts = {};
  Sequences responses = {};
  std::vector<std::uint64_t> ids = {};

  /// Number of examples.
  [[nodiscard]] int size() const { return prompts.size(); }
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// ValueError unless there are as many responses and ids as prompts.
  void check() const {
    if (responses.size() != prompts.size() || ids.size() != static_cast<std::size_t>(prompts.size()))
      fail<ValueError>("Batch", "{} prompts, {} responses and {} ids were given: their numbers must be equal",
                       prompts.size(), responses.size(), ids.size());
  }

  /// Appends an example.
  void push_back(std::span<const std::int32_t> prompt, std::span<const std::int32_t> response,
                 std::uint64_t id) {
    prompts.push_back(prompt);
    responses.push_back(response);
    ids.push_back(id);
  }

  /// The examples `rows`, in that order; a row may be named several times.
  [[nodiscard]] Batch select(std::span<const int> rows) const {
    check();
    Batch out{prompts.select(rows), responses.select(rows), {}};
    out.ids.reserve(rows.size());
    for (const int row : rows) out.ids.push_back(ids[static_cast<std::size_t>(row)]);
    return out;
  }

  /// Examples [begin, end): a micro-batch. ShapeError unless 0 <= begin <= end <= size().
  [[nodiscard]] Batch slice(int begin, int end) const {
    if (begin < 0 || end < begin || end > size())
      fail<ShapeError>("Batch", "examples [{}, {}) were asked for, but there are {}", begin, end, size());
    std::vector<int> rows(static_cast<std::size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), begin);
    return select(rows);
  }

  friend bool operator==(const Batch&, const Batch&) = default;
};

/// A data set of these pairs, its examples numbered 0, 1, 2, ...
[[nodiscard]] inline Batch numbered(Sequences prompts, Sequences responses) {
  Batch out{std::move(prompts), std::move(responses), {}};
  out.ids.resize(static_cast<std::size_t>(out.prompts.size()));
  std::iota(out.ids.begin(), out.ids.end(), std::uint64_t{0});
  out.check();
  return out;
}

}  // namespace retort
