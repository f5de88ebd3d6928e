#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/core/error.hpp"
#include "retort/core/philox.hpp"

/// Shuffled batches with random access: batch k of a run is a function of (seed, batch size, data, k), so a
/// resumed run needs to remember only its step number.
namespace retort {

/// The order in which epoch `epoch` visits `n` examples: a permutation of 0 .. n - 1, uniform, the same on
/// every platform. Each example gets a 64-bit random number as its sort key.
[[nodiscard]] inline std::vector<int> epoch_order(std::uint64_t seed, std::uint64_t epoch, int n) {
  constexpr std::uint64_t shuffling = 0x73687566666c65ull;  // this purpose's stream
  const RandomKey key = RandomKey{seed, shuffling}.fork(epoch);
  std::vector<std::pair<std::uint64_t, int>> keyed(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    const auto words = key.block(static_cast<std::uint64_t>(i));
    keyed[static_cast<std::size_t>(i)] = {(std::uint64_t{words[0]} << 32) | words[1], i};
  }
  std::ranges::sort(keyed);
  std::vector<int> order(keyed.size());
  std::ranges::transform(keyed, order.begin(), [](const auto& pair) { return pair.second; });
  return order;
}

/// Where a run stands in its data: all that a checkpoint has to keep of it.
struct BatchCursor {
  std::uint64_t seed = 1;
  int batch_size = 32;
  std::int64_t step = 0;  ///< the batch that comes next

  friend bool operator==(const BatchCursor&, const BatchCursor&) = default;
};

/// Endless batches of `cursor.batch_size` examples, a new order every epoch. Batches run across the ends of
/// epochs: the last, partial batch of one is filled up from the next, and no example is left out.
class Batches {
 public:
  /// ValueError if there are no examples, or the cursor's size or step is out of range.
  Batches(Batch examples, BatchCursor cursor) : examples_(std::move(examples)), cursor_(cursor) {
    examples_.check();
    if (examples_.empty()) fail<ValueError>("Batches", "there are no examples to make batches of");
    if (cursor.batch_size < 1)
      fail<ValueError>("Batches", "batch size is {}, must be at least 1", cursor.batch_size);
    seek(cursor.step);
  }

  /// The numbers of the examples in batch `step`, which must not be negative (ValueError).
  [[nodiscard]] std::vector<int> rows(std::int64_t step) {
    check_step(step);
    const std::int64_t n = examples_.size();
    std::vector<int> out;
    out.reserve(static_cast<std::size_t>(cursor_.batch_size));
    for (std::int64_t place = step * cursor_.batch_size; std::ssize(out) < cursor_.batch_size; ++place)
      out.push_back(order(place / n)[static_cast<std::size_t>(place % n)]);
    return out;
  }

  /// Batch `step` of the run; the cursor stays.
  [[nodiscard]] Batch at(std::int64_t step) { return examples_.select(rows(step)); }

  /// The batch at the cursor, which moves on.
  [[nodiscard]] Batch next() { return at(cursor_.step++); }

  /// Makes `step` the batch that comes next.
  void seek(std::int64_t step) {
    check_step(step);
    cursor_.step = step;
  }

  [[nodiscard]] const BatchCursor& cursor() const { return cursor_; }
  [[nodiscard]] const Batch& examples() const { return examples_; }

  /// Passes through the data up to the cursor, a fraction.
  [[nodiscard]] double epochs() const {
    return static_cast<double>(cursor_.step) * cursor_.batch_size / examples_.size();
  }

 private:
  static void check_step(std::int64_t step) {
    if (step < 0) fail<ValueError>("Batches", "step is {}, must be at least 0", step);
  }

  // The order of one epoch, kept until another is asked for.
  const std::vector<int>& order(std::int64_t epoch) {
    if (epoch != epoch_) {
      order_ = epoch_order(cursor_.seed, static_cast<std::uint64_t>(epoch), examples_.size());
      epoch_ = epoch;
    }
    return order_;
  }

  Batch examples_;
  BatchCursor cursor_;
  std::int64_t epoch_ = -1;
  std::vector<int> order_;
};

}  // namespace retort
