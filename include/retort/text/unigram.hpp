#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/text/best_cut.hpp"
#include "retort/text/vocabulary.hpp"

namespace retort {

/// The unigram model (Kudo 2018): of all ways to cut a word into tokens, the one with the largest sum of
/// scores.
///
/// This is that of tokenizer.json: scores are added in double, as the Hugging Face tokenizers do. The
/// SentencePiece library adds in float, and so does retort for its .model files (sentencepiece.hpp).
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
    cut_ = detail::BestCut<double>(options_.unknown);
    for (TokenId id = 0; id < vocabulary_.size(); ++id)
      cut_.add(*vocabulary_.token(id), id, scores_[static_cast<std::size_t>(id)]);
    if (!scores_.empty())
      cut_.set_unknown_score(*std::ranges::min_element(scores_) - 10);  // SentencePiece's penalty
  }

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Bytes at the start of `text` whose ids do not depend on what follows: all of them.
  [[nodiscard]] std::size_t independent_prefix(std::string_view text) const { return text.size(); }

  /// Appends the ids of `word`, which is valid UTF-8. Throws ValueError if it has a character without a token
  /// and there is no token for such.
  void encode(std::string_view word, std::vector<TokenId>& ids) const {
    for (const auto& part : cut_(word)) {
      const std::string_view text = word.substr(part.begin, part.end - part.begin);
      if (const auto id = vocabulary_.id(text))
        ids.push_back(*id);
      else if (!options_.byte_fallback || !append_bytes(text, ids))
        ids.push_back(*options_.unknown);
    }
  }

  bool operator==(const Unigram& other) const {
    return vocabulary_ == other.vocabulary_ && scores_ == other.scores_ && options_ == other.options_;
  }

 private:
  Vocabulary vocabulary_;
  std::vector<double> scores_;
  Options options_;
  detail::BestCut<double> cut_;

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
