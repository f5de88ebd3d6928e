#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "retort/text/tokenizer.hpp"
#include "retort/text/tokenizer_json.hpp"

namespace retort::detail {

/// What stands beside a tokenizer in its folder. Files that are absent say nothing.
class TokenizerFolder {
 public:
  explicit TokenizerFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return folder_ / name; }

  /// A setting of tokenizer_config.json, true or false.
  [[nodiscard]] std::optional<bool> flag(const char* key) const {
    const auto root = config();
    const auto field = root ? root->find(key) : std::nullopt;
    return field ? std::optional(field->boolean()) : std::nullopt;
  }

  /// The token that one of the files calls `key`, "eos_token" say, and the field that does.
  [[nodiscard]] std::optional<JsonField> named(const char* key) const {
    for (const JsonField& root : naming_files())
      if (auto field = root.find(key)) return field->value().is_object() ? (*field)["content"] : field;
    return std::nullopt;
  }

  [[nodiscard]] SpecialIds special_ids(const TokenCodec& codec) const {
    SpecialIds ids;
    const auto fill = [&](std::optional<TokenId>& id, const char* token_key, const char* id_key) {
      if (const auto name = named(token_key)) {
        id = codec.id(name->string());
        if (!id) name->complain("'{}' is no token of this tokenizer", name->string());
      } else if (id_key) {
        if (const auto list = configured(id_key); !list.empty()) id = list.front();
      }
    };
    fill(ids.bos, "bos_token", "bos_token_id");
    fill(ids.eos, "eos_token", "eos_token_id");
    fill(ids.pad, "pad_token", "pad_token_id");
    fill(ids.unk, "unk_token", nullptr);
    if (ids.eos) ids.stop.push_back(*ids.eos);
    for (const TokenId id : configured("eos_token_id"))
      if (std::ranges::find(ids.stop, id) == ids.stop.end()) ids.stop.push_back(id);
    return ids;
  }

  /// Adds to `added`, the tokens that tokenizer.json or the tokenizer's kind has, those of the folder's other
  /// files, as transformers 5 does, whatever ids these files give: a token that the vocabulary has (`id_of`)
  /// keeps its id, others follow the largest of the vocabulary's `count` ids and of `added`. First
  /// added_tokens_decoder of tokenizer_config.json in the order of its ids, which also says how a token that
  /// is there is found, or added_tokens.json if there is none; then the tokens that have names, then
  /// extra_special_tokens or additional_special_tokens. FileError for several new tokens whose order the
  /// files leave open.
  template <class IdOf>
  void add_tokens(std::vector<AddedToken>& added, IdOf&& id_of, std::size_t count) const {
    TokenId next = static_cast<TokenId>(count);
    for (const AddedToken& token : added) next = std::max(next, token.id + 1);
    const auto known = [&](const AddedToken& token) {
      return std::ranges::find(added, token.content, &AddedToken::content);
    };
    const auto add = [&](AddedToken token) {
      if (token.content.empty() || known(token) != added.end()) return;
      const std::optional<TokenId> id = id_of(token.content);
      token.id = id ? *id : next++;
      added.push_back(std::move(token));
    };
    const auto named = named_tokens();
    const auto others = other_special_tokens();
    const auto is_named = [&](const AddedToken& token) {
      return std::ranges::find(named, token.content, &AddedToken::content) != named.end();
    };
    for (AddedToken token : listed_tokens(added, named, others)) {
      const auto at = known(token);
      if (at == added.end()) {
        token.special = token.special || is_named(token);
        add(token);
      } else if (token.id = at->id; token != *at) {
        token.special = token.special || is_named(token);
        *at = token;
      }
    }
    for (const AddedToken& token : named) add(token);
    const AddedToken* first = nullptr;  // of the new ones with names of their own
    const auto own = own_names();
    for (const auto& [field, token] : own) {
      if (token.content.empty() || known(token) != added.end()) continue;
      if (first && !id_of(token.content))
        field.complain("'{}' and '{}' are new tokens, and nothing says which of them comes first",
                       first->content, token.content);
      if (!id_of(token.content)) first = &token;
      add(token);
    }
    for (const AddedToken& token : others) add(token);
  }

  /// Whether transformers reads this folder by its GPT2Tokenizer, for which tokenizer_config.json decides
  /// whether a text gets a space in front.
  [[nodiscard]] bool is_gpt2() const {
    const auto text = [](const std::optional<JsonField>& root, const char* key) -> std::string {
      const auto field = root ? root->find(key) : std::nullopt;
      return field ? field->string() : "";
    };
    const std::string name = text(config(), "tokenizer_class");
    if (!name.empty()) return name == "GPT2Tokenizer" || name == "GPT2TokenizerFast";
    const std::string type = text(file("config.json"), "model_type");
    return type == "gpt2" || type == "gptj" || type == "opt";
  }

  [[nodiscard]] std::optional<JsonField> config() const { return file("tokenizer_config.json"); }

 private:
  std::filesystem::path folder_;
  mutable std::map<std::string, std::unique_ptr<JsonFile>> files_;  // read once; nullptr for an absent one

  [[nodiscard]] std::optional<JsonField> file(const char* name) const {
    const auto [entry, is_new] = files_.try_emplace(name);
    if (is_new && std::filesystem::exists(folder_ / name))
      entry->second = std::make_unique<JsonFile>(folder_ / name);
    return entry->second ? std::optional(entry->second->root()) : std::nullopt;
  }

  /// The files that name special tokens, the one that counts first: special_tokens_map.json is of a time
  /// before tokenizer_config.json had added_tokens_decoder, beside which it is not read.
  [[nodiscard]] std::vector<JsonField> naming_files() const {
    std::vector<JsonField> files;
    const auto root = config();
    if (!root || !root->find("added_tokens_decoder"))
      if (const auto map = file("special_tokens_map.json")) files.push_back(*map);
    if (root) files.push_back(*root);
    return files;
  }

  /// A special token: its text, or an object with its properties.
  static AddedToken special_token(const JsonField& field, bool is_named) {
    if (!field.value().is_object()) return {.content = field.string(), .normalized = false, .special = true};
    AddedToken token = TokenizerJson::added_token(field, 0);
    if (is_named && !field.find("normalized")) token.normalized = false;
    token.special = token.special || is_named;
    return token;
  }

  /// Those that every tokenizer may name, in transformers' order.
  static constexpr std::array names = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
  [[nodiscard]] std::vector<AddedToken> named_tokens() const {
    std::vector<AddedToken> tokens;
    for (const char* name : names)
      for (const JsonField& root : naming_files())
        if (const auto field = root.find(name)) {
          tokens.push_back(special_token(*field, true));
          break;
        }
    return tokens;
  }
  /// Those with names of their own, "image_token" say.
  [[nodiscard]] std::vector<std::pair<JsonField, AddedToken>> own_names() const {
    std::vector<std::pair<JsonField, AddedToken>> tokens;
    const auto add = [&](const JsonField& field) { tokens.emplace_back(field, special_token(field, true)); };
    for (const JsonField& root : naming_files()) {
      root.for_each_member([&](const std::string& key, const JsonField& field) {
        if (key.ends_with("_token") && field.value().is_string() && std::ranges::count(names, key) == 0)
          add(field);
      });
      if (const auto extra = root.find("extra_special_tokens"); extra && extra->value().is_object())
        extra->for_each_member([&](const std::string&, const JsonField& field) { add(field); });
    }
    return tokens;
  }
  /// Those without a name.
  [[nodiscard]] std::vector<AddedToken> other_special_tokens() const {
    std::vector<AddedToken> tokens;
    const auto add = [&](const std::optional<JsonField>& root, const char* key) {
      const auto list = root ? root->find(key) : std::nullopt;
      if (!list || list->value().is_object()) return;
      list->for_each([&](const JsonField& field) { tokens.push_back(special_token(field, false)); });
    };
    const auto root = config();
    add(root, "extra_special_tokens");
    if (tokens.empty()) add(root, "additional_special_tokens");
    if (root && root->find("added_tokens_decoder")) return tokens;
    const auto map = file("special_tokens_map.json");
    add(map, "extra_special_tokens");
    if (tokens.empty()) add(map, "additional_special_tokens");
    return tokens;
  }
  /// added_tokens_decoder of tokenizer_config.json, or added_tokens.json, which gives ids that tokenizer.json
  /// may have given to others since.
  [[nodiscard]] std::vector<AddedToken> listed_tokens(const std::vector<AddedToken>& added,
                                                      const std::vector<AddedToken>& named,
                                                      const std::vector<AddedToken>& others) const {
    std::map<TokenId, AddedToken> tokens;
    const auto root = config();
    if (const auto list = root ? root->find("added_tokens_decoder") : std::nullopt) {
      list->for_each_member([&](const std::string& key, const JsonField& token) {
        const TokenId id = id_of_key(key, token);
        tokens.emplace(id, TokenizerJson::added_token(token, id));
      });
    } else if (const auto old = file("added_tokens.json")) {
      old->for_each_member([&](const std::string& content, const JsonField& field) {
        const auto id = static_cast<TokenId>(field.integer(0, Vocabulary::largest));
        const auto is = [&](const auto& list) {
          return std::ranges::find(list, content, &AddedToken::content) != list.end();
        };
        const bool special = is(named) || is(others);
        if (std::ranges::find(added, id, &AddedToken::id) == added.end())
          tokens.emplace(id, AddedToken{.content = content, .normalized = !special, .special = special});
      });
    }
    std::vector<AddedToken> list;
    for (auto& [id, token] : tokens) list.push_back(std::move(token));
    return list;
  }

  /// Ids that generation_config.json, or else config.json, gives: a number or a list.
  [[nodiscard]] std::vector<TokenId> configured(const char* key) const {
    std::vector<TokenId> ids;
    const auto add = [&](const JsonField& id) {
      ids.push_back(static_cast<TokenId>(id.integer(0, Vocabulary::largest)));
    };
    for (const char* name : {"generation_config.json", "config.json"})
      if (const auto root = file(name))
        if (const auto field = root->find(key)) {
          if (field->value().is_array())
            field->for_each(add);
          else if (field->value() != -1)  // what some files have for none
            add(*field);
          break;
        }
    return ids;
  }

  static TokenId id_of_key(const std::string& key, const JsonField& field) {
    if (key.empty() || key.size() > 8 || key.find_first_not_of("0123456789") != std::string::npos)
      field.complain("'{}' is no id", key);
    const long id = std::stol(key);
    if (id > Vocabulary::largest) field.complain("'{}' is no id", key);
    return static_cast<TokenId>(id);
  }
};

}  // namespace retort::detail
