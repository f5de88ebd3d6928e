#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/text/flat_map.hpp"
#include "retort/text/utf8.hpp"
#include "retort/text/vocabulary.hpp"

namespace retort {

/// The unigram model (Kudo 2018): of all ways to cut a word into tokens, the one with the largest sum of
/// scores.
///
/// The SentencePiece library does this too, but its sums are in float and those of the Hugging Face
/// tokenizers in double. Cuts that differ only in the order of their tokens, as those of a run of equal
/// characters do, have equal sums in double, of which the first found wins; in float the rounding decides. So
/// tokenizer.json is done here.
class Unigram {
 public:
  struct Options {
    std::optional<TokenId> unknown = {};  ///< without it a character without a token is an error
    bool byte_fallback = false;           ///< an unknown part becomes its bytes' tokens <0x00> to <0xFF>
    bool operator==(const Options&) const = default;
  };

  /// Throws ValueError if the unknown token is not in the vocabulary or the numbers of scores and tokens
  /// differ.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, Options options)
      : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)), options_(options) {
    if (scores_.size() != vocabulary_.count() ||
        scores_.size() != static_cast<std::size_t>(vocabulary_.size()))
      fail<ValueError>("unigram", "there are {} scores for {} tokens", scores_.size(), vocabulary_.count());
    if (options_.unknown && !vocabulary_.token(*options_.unknown))
      fail<ValueError>("unigram", "the unknown token {} is not among the {} of the vocabulary",
                       *options_.unknown, vocabulary_.count());
    for (TokenId id = 0; id < vocabulary_.size(); ++id) add_to_trie(*vocabulary_.token(id), id);
    if (!scores_.empty())
      unknown_score_ = *std::ranges::min_element(scores_) - 10;  // SentencePiece's penalty
  }

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Bytes at the start of `text` whose ids do not depend on what follows: all of them.
  [[nodiscard]] std::size_t independent_prefix(std::string_view text) const { return text.size(); }

  /// Appends the ids of `word`, which is valid UTF-8. Throws ValueError if it has a character without a token
  /// and there is no token for such.
  void encode(std::string_view word, std::vector<TokenId>& ids) const {
    std::vector<Node> best(word.size() + 1);  // by the place where a path ends
    std::size_t size = 0;
    for (std::size_t begin = 0; begin < word.size(); begin += size) {
      size = utf8::first(word.substr(begin)).size;
      bool has_single = false;
      const auto offer = [&](std::size_t end, TokenId id, double score) {
        score += best[begin].score;
        if (best[end].id == none || score > best[end].score) best[end] = {score, begin, id};
      };
      std::uint32_t node = 0;
      for (std::size_t end = begin; end < word.size();) {
        const auto* next = trie_.find(edge(node, word[end]));
        if (!next) break;
        node = *next;
        ++end;
        if (const TokenId id = ends_[node]; id != none) {
          offer(end, id, scores_[static_cast<std::size_t>(id)]);
          has_single |= end == begin + size;
        }
      }
      if (!has_single) {
        if (!options_.unknown)
          fail<ValueError>("unigram", "'{}' has no token, and there is none for unknown characters",
                           word.substr(begin, size));
        offer(begin + size, *options_.unknown, unknown_score_);
      }
    }
    collect(word, best, ids);
  }

  bool operator==(const Unigram& other) const {
    return vocabulary_ == other.vocabulary_ && scores_ == other.scores_ && options_ == other.options_;
  }

 private:
  static constexpr TokenId none = -1;
  struct Node {
    double score = 0;
    std::size_t begin = 0;
    TokenId id = none;  // of the last token of the best path that ends here
  };

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  Options options_;
  double unknown_score_ = 0;
  detail::FlatMap<std::uint32_t> trie_;  // from a node and a byte to the next node
  std::vector<TokenId> ends_{none};      // the token that ends in a node

  static std::uint64_t edge(std::uint32_t node, char byte) {
    return (std::uint64_t{node} << 8) | static_cast<unsigned char>(byte);
  }
  void add_to_trie(std::string_view token, TokenId id) {
    std::uint32_t node = 0;
    for (const char c : token) {
      const auto* next = trie_.find(edge(node, c));
      if (!next) {
        ends_.push_back(none);
        trie_.set(edge(node, c), static_cast<std::uint32_t>(ends_.size() - 1));
        node = static_cast<std::uint32_t>(ends_.size() - 1);
      } else {
        node = *next;
      }
    }
    if (node != 0) ends_[node] = id;
  }

  // Walks back along the best path. A run of unknown characters is one part.
  void collect(std::string_view word, const std::vector<Node>& best, std::vector<TokenId>& ids) const {
    std::vector<std::pair<std::size_t, std::size_t>> parts;  // begin, end
    bool unknown_behind = false;
    for (std::size_t end = word.size(); end > 0; end = best[end].begin) {
      const bool unknown = options_.unknown && best[end].id == *options_.unknown;
      if (unknown && unknown_behind)
        parts.back().first = best[end].begin;
      else
        parts.emplace_back(best[end].begin, end);
      unknown_behind = unknown;
    }
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      const std::string_view text = word.substr(part->first, part->second - part->first);
      if (const auto id = vocabulary_.id(text))
        ids.push_back(*id);
      else if (!options_.byte_fallback || !append_bytes(text, ids))
        ids.push_back(*options_.unknown);
    }
  }

  [[nodiscard]] bool append_bytes(std::string_view text, std::vector<TokenId>& ids) const {
    const std::size_t before = ids.size();
    for (const char c : text) {
      const auto id = vocabulary_.id(fmt::format("<0x{:02X}>", static_cast<unsigned char>(c)));
      if (!id) {
        ids.resize(before);
        return false;
      }
      ids.push_back(*id);
    }
    return true;
  }
};

}  // namespace retort
