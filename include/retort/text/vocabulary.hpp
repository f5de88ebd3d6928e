#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"

namespace retort {

/// The number of a token: a row of a model's embedding.
using TokenId = std::int32_t;

/// Tokens and their ids, both ways. Ids may have holes.
class Vocabulary {
 public:
  /// Larger ids are refused: they are damage, and would only take memory.
  static constexpr std::int64_t largest = (std::int64_t{1} << 24) - 1;

  /// Throws ValueError if the token or the id is taken, or the id outside [0, largest].
  void add(std::string token, std::int64_t id) {
    if (id < 0 || id > largest) fail<ValueError>("vocabulary", "id {} is outside 0 to {}", id, largest);
    const auto place = static_cast<std::size_t>(id);
    if (place >= tokens_.size()) tokens_.resize(place + 1);
    if (tokens_[place])
      fail<ValueError>("vocabulary", "id {} is that of '{}' and '{}'", id, *tokens_[place], token);
    const auto [entry, is_new] = ids_.try_emplace(std::move(token), static_cast<TokenId>(id));
    if (!is_new)
      fail<ValueError>("vocabulary", "'{}' has the ids {} and {}", entry->first, entry->second, id);
    tokens_[place] = &entry->first;
  }

  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const {
    const auto entry = ids_.find(token);
    return entry == ids_.end() ? std::nullopt : std::optional(entry->second);
  }
  /// nullptr if there is none. The text is alive as long as the vocabulary.
  [[nodiscard]] const std::string* token(TokenId id) const {
    return id < 0 || id >= size() ? nullptr : tokens_[static_cast<std::size_t>(id)];
  }

  /// One more than the largest id: the rows a model must have.
  [[nodiscard]] TokenId size() const { return static_cast<TokenId>(tokens_.size()); }
  /// The number of tokens, smaller if there are holes.
  [[nodiscard]] std::size_t count() const { return ids_.size(); }

  bool operator==(const Vocabulary& other) const { return ids_ == other.ids_; }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // into ids_, whose nodes stay where they are
};

}  // namespace retort
