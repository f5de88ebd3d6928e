#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"

/// Token sequences of unequal lengths, kept without padding: what readers produce, models consume and
/// samplers return. Padding is a matter of the layer that needs a rectangle; see `Sequences::padded`.
namespace retort {

/// The side of a row on which padding stands.
enum class Side { left, right };

/// A rectangle of tokens with the places that hold no token marked.
struct PaddedTokens {
  int rows = 0;                      ///< B
  int columns = 0;                   ///< T
  std::vector<std::int32_t> tokens;  ///< (B, T) row-major
  std::vector<std::uint8_t> mask;    ///< (B, T): 1 a token, 0 padding
};

/// A ragged batch: sequence i is `tokens[offsets[i] .. offsets[i + 1])`. Sequences may be empty.
struct Sequences {
  std::vector<std::int32_t> tokens;      ///< all sequences, one after the other
  std::vector<std::int32_t> offsets{0};  ///< size() + 1 ascending numbers from 0 to total()

  /// Number of sequences.
  [[nodiscard]] int size() const { return static_cast<int>(offsets.size()) - 1; }
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// Number of tokens in all sequences together.
  [[nodiscard]] int total() const { return offsets.back(); }

  /// Number of tokens in sequence `i`.
  [[nodiscard]] int length(int i) const { return offsets[checked(i) + 1] - offsets[checked(i)]; }

  /// Number of tokens in each sequence.
  [[nodiscard]] std::vector<std::int32_t> lengths() const {
    std::vector<std::int32_t> out;
    out.reserve(offsets.size() - 1);
    for (std::size_t i = 1; i < offsets.size(); ++i) out.push_back(offsets[i] - offsets[i - 1]);
    return out;
  }

  /// Length of the longest sequence, 0 if there is none.
  [[nodiscard]] int longest() const {
    int most = 0;
    for (int i = 0; i < size(); ++i) most = std::max(most, length(i));
    return most;
  }

  /// The tokens of sequence `i`; valid until the sequences are changed. ShapeError if there is no such
  /// sequence.
  [[nodiscard]] std::span<const std::int32_t> operator[](int i) const {
    return {tokens.data() + offsets[checked(i)], static_cast<std::size_t>(length(i))};
  }

  /// Appends a sequence, which must not be a part of these `tokens`.
  void push_back(std::span<const std::int32_t> sequence) {
    if (tokens.size() + sequence.size() > std::numeric_limits<std::int32_t>::max())
      fail<ValueError>("Sequences", "{} + {} tokens are more than 32-bit offsets can count", tokens.size(),
                       sequence.size());
    tokens.insert(tokens.end(), sequence.begin(), sequence.end());
    offsets.push_back(static_cast<std::int32_t>(tokens.size()));
  }

  /// The sequences `rows`, in that order; a row may be named several times.
  [[nodiscard]] Sequences select(std::span<const int> rows) const {
    Sequences out;
    std::size_t count = 0;
    for (const int row : rows) count += static_cast<std::size_t>(length(row));
    out.tokens.reserve(count);
    out.offsets.reserve(rows.size() + 1);
    for (const int row : rows) out.push_back((*this)[row]);
    return out;
  }

  /// The sequences as a rectangle `max(longest(), least_columns)` wide, filled with `pad_id` on `side`.
  [[nodiscard]] PaddedTokens padded(std::int32_t pad_id, Side side = Side::right,
                                    int least_columns = 0) const {
    PaddedTokens out{size(), std::max(longest(), least_columns), {}, {}};
    const std::size_t places = static_cast<std::size_t>(out.rows) * static_cast<std::size_t>(out.columns);
    out.tokens.assign(places, pad_id);
    out.mask.assign(places, 0);
    for (int i = 0; i < size(); ++i) {
      const int skip = side == Side::left ? out.columns - length(i) : 0;
      const auto at = static_cast<std::ptrdiff_t>(i) * out.columns + skip;
      std::ranges::copy((*this)[i], out.tokens.begin() + at);
      std::fill_n(out.mask.begin() + at, length(i), std::uint8_t{1});
    }
    return out;
  }

  /// The sequences of a rectangle `tokens` (B, columns) whose `mask` (same shape) is not 0 where a token
  /// stands. The tokens of a row must be neighbours: ShapeError for a hole, and for sizes that do not match.
  [[nodiscard]] static Sequences from_padded(std::span<const std::int32_t> tokens, int columns,
                                             std::span<const std::uint8_t> mask) {
    if (mask.size() != tokens.size())
      fail<ShapeError>("from_padded", "tokens has {} elements but mask has {}", tokens.size(), mask.size());
    const auto is_token = [](std::uint8_t m) { return m != 0; };
    return from_rows(tokens, columns, [&](std::size_t row, std::size_t begin) {
      const auto flags = mask.subspan(begin, static_cast<std::size_t>(columns));
      const auto first = std::ranges::find_if(flags, is_token);
      const auto last = std::find_if_not(first, flags.end(), is_token);
      if (const auto again = std::find_if(last, flags.end(), is_token); again != flags.end())
        fail<ShapeError>("from_padded",
                         "row {} has a hole: its mask is 0 at column {} and 1 again at column {}", row,
                         last - flags.begin(), again - flags.begin());
      return std::pair{first - flags.begin(), last - flags.begin()};
    });
  }

  /// The sequences of a rectangle `tokens` (B, columns) without the run of `pad_id` on `side` of each row; a
  /// `pad_id` anywhere else is a token. Where the padding token is also the last token of a sequence (pad ==
  /// eos) nobody can tell them apart: use the mask.
  [[nodiscard]] static Sequences from_padded(std::span<const std::int32_t> tokens, int columns,
                                             std::int32_t pad_id, Side side) {
    return from_rows(tokens, columns, [&](std::size_t, std::size_t begin) {
      const auto row = tokens.subspan(begin, static_cast<std::size_t>(columns));
      const auto is_pad = [pad_id](std::int32_t token) { return token == pad_id; };
      if (side == Side::left)
        return std::pair{std::ranges::find_if_not(row, is_pad) - row.begin(), row.end() - row.begin()};
      return std::pair{std::ptrdiff_t{0},
                       std::find_if_not(row.rbegin(), row.rend(), is_pad).base() - row.begin()};
    });
  }

  friend bool operator==(const Sequences&, const Sequences&) = default;

 private:
  [[nodiscard]] std::size_t checked(int i) const {
    if (i < 0 || i >= size())
      fail<ShapeError>("Sequences", "sequence {} was asked for, but there are {}", i, size());
    return static_cast<std::size_t>(i);
  }

  // Cuts [first, last) = part(row, index of its first element) out of every row.
  template <class Part>
  static Sequences from_rows(std::span<const std::int32_t> tokens, int columns, Part part) {
    const auto width = static_cast<std::size_t>(std::max(columns, 0));
    if (width == 0 ? !tokens.empty() : tokens.size() % width != 0)
      fail<ShapeError>("from_padded", "{} tokens are not a whole number of rows of {}", tokens.size(),
                       columns);
    Sequences out;
    for (std::size_t begin = 0; begin < tokens.size(); begin += width) {
      const auto [first, last] = part(begin / width, begin);
      out.push_back(
          tokens.subspan(begin + static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)));
    }
    return out;
  }
};

}  // namespace retort
