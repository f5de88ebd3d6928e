#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "retort/text/byte_level.hpp"
#include "retort/text/regex.hpp"

/// The cutting of text into pieces, of which a model encodes each for itself: the pre-tokenizers of
/// tokenizer.json. Digits, Punctuation, Whitespace and WhitespaceSplit are `Split` with a pattern each.
namespace retort::pre_tokenizers {

/// A text and the pieces it is cut into, none of them empty.
struct Pieces {
  struct Range {
    std::size_t begin = 0, end = 0;  ///< bytes of `text`
  };
  std::string text;
  std::vector<Range> ranges;
  bool at_start = true;  ///< whether byte 0 of `text` is where the user's text begins

  [[nodiscard]] std::string_view operator[](const Range& range) const {
    return std::string_view(text).substr(range.begin, range.end - range.begin);
  }
};

/// What becomes of the matches of a pattern.
enum class Behavior {
  isolated,              ///< pieces of their own
  removed,               ///< dropped
  merged_with_previous,  ///< the end of the piece before them
  merged_with_next,      ///< the beginning of the piece behind them
  contiguous             ///< pieces of their own, neighbours together
};

/// A part of a text and whether it matches.
struct Part {
  std::size_t begin = 0, end = 0;
  bool match = false;
};

/// Appends the pieces that `parts`, which lie end to end, become.
inline void append_pieces(const std::vector<Part>& parts, Behavior behavior, std::vector<Pieces::Range>& to) {
  const std::size_t first = to.size();
  bool previous = false;  // whether the part before is a match
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto [begin, end, match] = parts[i];
    const bool has_last = to.size() > first;
    bool join = false;  // with the piece before
    switch (behavior) {
      case Behavior::isolated:
        break;
      case Behavior::removed:
        if (match) continue;
        break;
      case Behavior::contiguous:
        join = has_last && match == previous;
        break;
      case Behavior::merged_with_previous:
        join = has_last && match && !previous;
        break;
      case Behavior::merged_with_next:
        join = has_last && !match && previous;
        break;
    }
    previous = match;
    if (join)
      to.back().end = end;
    else
      to.push_back({begin, end});
  }
  to.erase(std::remove_if(to.begin() + static_cast<std::ptrdiff_t>(first), to.end(),
                          [](const Pieces::Range& range) { return range.begin == range.end; }),
           to.end());
}

/// Cuts at the matches of a pattern.
struct Split {
  Regex regex;
  Behavior behavior = Behavior::isolated;
  bool invert = false;  ///< what lies between the matches counts as match
  bool operator==(const Split&) const = default;

  void operator()(Pieces& pieces) const {
    std::vector<Pieces::Range> cut;
    std::vector<Part> parts;
    for (const auto& range : pieces.ranges) {
      parts.clear();
      std::size_t at = range.begin;
      regex.for_each(pieces[range], [&](std::size_t begin, std::size_t end) {
        begin += range.begin, end += range.begin;
        if (at != begin) parts.push_back({at, begin, invert});
        parts.push_back({begin, end, !invert});
        at = end;
      });
      if (at != range.end) parts.push_back({at, range.end, invert});
      append_pieces(parts, behavior, cut);
    }
    pieces.ranges = std::move(cut);
  }
};

namespace detail {
/// Rewrites every piece: `f(piece, to)` appends to `to` what stands in its place.
template <class F>
void rewrite(Pieces& pieces, F&& f) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 4);
  if (!pieces.ranges.empty() && pieces.ranges.front().begin != 0) pieces.at_start = false;
  for (auto& range : pieces.ranges) {
    const std::size_t begin = text.size();
    f(pieces[range], text);
    range = {begin, text.size()};
  }
  pieces.text = std::move(text);
}
}  // namespace detail

/// GPT-2's: words by its pattern, then bytes as characters.
struct ByteLevel {
  bool add_prefix_space = true;  ///< a piece that does not begin with a space gets one
  bool use_regex = true;
  Split words{Regex(byte_level::pattern)};
  bool operator==(const ByteLevel&) const = default;

  void operator()(Pieces& pieces) const {
    if (add_prefix_space)
      detail::rewrite(pieces, [](std::string_view piece, std::string& to) {
        if (!piece.starts_with(' ')) to += ' ';
        to += piece;
      });
    if (use_regex) words(pieces);
    detail::rewrite(
        pieces, [](std::string_view piece, std::string& to) { byte_level::append_characters(to, piece); });
  }
};

/// SentencePiece's: spaces become a visible character, which begins a word.
struct Metaspace {
  /// Which pieces get the character in front if they do not begin with it.
  enum class Prepend { always, first, never };
  std::string replacement = "\u2581";
  Prepend prepend = Prepend::always;
  bool split = true;  ///< cut before each of them
  bool operator==(const Metaspace&) const = default;

  void operator()(Pieces& pieces) const {
    detail::rewrite(pieces, [&](std::string_view piece, std::string& to) {
      const bool is_first = pieces.at_start && to.empty();
      const bool wanted = prepend == Prepend::always || (prepend == Prepend::first && is_first);
      if (wanted && !piece.starts_with(' ') && !piece.starts_with(replacement)) to += replacement;
      for (const char c : piece)
        if (c == ' ')
          to += replacement;
        else
          to += c;
    });
    if (!split) return;
    std::vector<Pieces::Range> cut;
    std::vector<Part> parts;
    for (const auto& range : pieces.ranges) {
      parts.clear();
      std::size_t at = range.begin;
      const std::string_view text = std::string_view(pieces.text).substr(0, range.end);
      for (std::size_t i = text.find(replacement, at); i != text.npos; i = text.find(replacement, at)) {
        if (i != at) parts.push_back({at, i, false});
        at = i + replacement.size();
        parts.push_back({i, at, true});
      }
      if (at != range.end) parts.push_back({at, range.end, false});
      append_pieces(parts, Behavior::merged_with_next, cut);
    }
    pieces.ranges = std::move(cut);
  }
};

}  // namespace retort::pre_tokenizers

namespace retort {

/// One step of the cutting; a sequence of them is a vector.
using PreTokenizer =
    std::variant<pre_tokenizers::Split, pre_tokenizers::ByteLevel, pre_tokenizers::Metaspace>;

}  // namespace retort
