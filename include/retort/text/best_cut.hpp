#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/text/flat_map.hpp"
#include "retort/text/utf8.hpp"
#include "retort/text/vocabulary.hpp"

namespace retort::detail {

/// Of all ways to cut a word into tokens, the one with the largest sum of scores (Viterbi's algorithm); of
/// cuts with equal sums, the first found: in each place the one whose last token begins first. `Sum` is the
/// type in which scores are added and compared. It matters: cuts that differ only in the order of their
/// tokens, as those of a run of equal characters do, are equal but for its rounding.
template <class Sum>
class BestCut {
 public:
  struct Part {
    std::size_t begin, end;  // bytes of the word
    TokenId id;
  };

  /// `unknown` is the id of a run of characters that have no token; without it they are an error.
  explicit BestCut(std::optional<TokenId> unknown = {}) : unknown_(unknown) {}

  /// An empty token is never found.
  void add(std::string_view token, TokenId id, Sum score) {
    std::uint32_t node = 0;
    for (const char c : token) {
      const auto* next = trie_.find(edge(node, c));
      if (!next) {
        ends_.push_back({});
        trie_.set(edge(node, c), static_cast<std::uint32_t>(ends_.size() - 1));
        node = static_cast<std::uint32_t>(ends_.size() - 1);
      } else {
        node = *next;
      }
    }
    if (node != 0) ends_[node] = {id, score};
  }

  /// The score of a character that has no token.
  void set_unknown_score(Sum score) { unknown_score_ = score; }

  /// The parts of `word`, which is valid UTF-8. Throws ValueError for a character without a token if there is
  /// none for such.
  [[nodiscard]] std::vector<Part> operator()(std::string_view word) const {
    std::vector<Node> best(word.size() + 1);  // by the place where a path ends
    std::size_t size = 0;
    for (std::size_t begin = 0; begin < word.size(); begin += size) {
      size = utf8::first(word.substr(begin)).size;
      bool has_single = false;
      const auto offer = [&](std::size_t end, TokenId id, Sum score) {
        score += best[begin].score;
        if (best[end].id == none || score > best[end].score) best[end] = {score, begin, id};
      };
      std::uint32_t node = 0;
      for (std::size_t end = begin; end < word.size();) {
        const auto* next = trie_.find(edge(node, word[end]));
        if (!next) break;
        node = *next;
        ++end;
        if (ends_[node].id != none) {
          offer(end, ends_[node].id, ends_[node].score);
          has_single |= end == begin + size;
        }
      }
      if (!has_single) {
        if (!unknown_)
          fail<ValueError>("unigram", "'{}' has no token, and there is none for unknown characters",
                           word.substr(begin, size));
        offer(begin + size, *unknown_, unknown_score_);
      }
    }
    return parts_of(best);
  }

 private:
  static constexpr TokenId none = -1;
  struct Node {
    Sum score = 0;
    std::size_t begin = 0;
    TokenId id = none;  // of the last token of the best path that ends here
  };
  struct End {
    TokenId id = none;
    Sum score = 0;
  };

  std::optional<TokenId> unknown_;
  Sum unknown_score_ = 0;
  FlatMap<std::uint32_t> trie_;  // from a node and a byte to the next node
  std::vector<End> ends_{{}};    // the token that ends in a node

  static std::uint64_t edge(std::uint32_t node, char byte) {
    return (std::uint64_t{node} << 8) | static_cast<unsigned char>(byte);
  }

  // Walks back along the best path. A run of unknown characters is one part.
  [[nodiscard]] std::vector<Part> parts_of(const std::vector<Node>& best) const {
    std::vector<Part> parts;
    for (std::size_t end = best.size() - 1; end > 0; end = best[end].begin) {
      const TokenId id = best[end].id;
      if (id == unknown_ && !parts.empty() && parts.back().id == id)
        parts.back().begin = best[end].begin;
      else
        parts.push_back({best[end].begin, end, id});
    }
    std::ranges::reverse(parts);
    return parts;
  }
};

}  // namespace retort::detail
