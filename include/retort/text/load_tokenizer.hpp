#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/tokenizer.hpp"
#include "retort/text/tokenizer_folder.hpp"
#include "retort/text/tokenizer_json.hpp"
#ifdef RETORT_SENTENCEPIECE
#include "retort/text/sentencepiece.hpp"
#endif

namespace retort {

/// The tokenizer of a Hugging Face folder, or of one tokenizer.json or .model file. Of a folder it takes the
/// first it finds: tokenizer.json; vocab.json with merges.txt (byte-level BPE as in GPT-2 and OPT); a
/// SentencePiece model (spiece.model, tokenizer.model, sentencepiece.bpe.model or the only *.model), for
/// which the program must be built with SentencePiece (CMake does it where it is found).
///
/// tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json say which ids are
/// bos, eos, pad and unk. Tokens that the first two or added_tokens.json have and the vocabulary lacks are
/// added, with the ids that transformers 5 gives them. The class that tokenizer_config.json names does not
/// count, but for GPT2Tokenizer's `add_prefix_space`. What goes around a sequence: tokenizer.json's
/// post-processor; for the other kinds `add_bos_token` and `add_eos_token` of tokenizer_config.json. A .model
/// that neither is said of adds its bos, and its eos if it has no bos, as LLaMA and T5 do.
///
/// Throws FileError that names file and field for what is missing, damaged or not supported.
[[nodiscard]] Tokenizer load_tokenizer(const std::filesystem::path& path);

namespace detail {

/// GPT-2's files: vocab.json, merges.txt.
[[nodiscard]] inline Tokenizer load_gpt2_files(const TokenizerFolder& folder) {
  Vocabulary vocabulary;
  const JsonFile file(folder / "vocab.json");
  file.root().for_each_member([&](const std::string& token, const JsonField& id) {
    id.guard([&] { vocabulary.add(token, id.integer(0, Vocabulary::largest)); });
  });
  Bpe model(std::move(vocabulary), {});

  const auto path = folder / "merges.txt";
  const std::string text = read_text_file(path);
  std::size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version") || (line.empty() && rest.empty())) continue;
    const auto space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos)
      fail<FileError>("tokenizer", "'{}', line {}: '{}', expected two tokens", path.string(), number,
                      utf8::repaired(line.substr(0, 60)));
    try {
      model.add_merge(line.substr(0, space), line.substr(space + 1));
    } catch (const ValueError& error) {
      fail<FileError>("tokenizer", "'{}', line {}: {}", path.string(), number, error.what());
    }
  }

  const auto id_of = [&](std::string_view token) { return model.vocabulary().id(token); };
  std::vector<AddedToken> added;
  folder.add_tokens(added, id_of, model.vocabulary().count());
  // Without a word about special tokens: GPT-2's one, if it is there.
  constexpr const char* end = "<|endoftext|>";
  const bool named = folder.named("eos_token") || folder.named("bos_token");
  const auto end_id = named ? std::nullopt : id_of(end);
  if (end_id && std::ranges::find(added, *end_id, &AddedToken::id) == added.end())
    added.push_back({.id = *end_id, .content = end, .normalized = false, .special = true});

  const bool prefix_space = folder.flag("add_prefix_space").value_or(false);
  PipelineParts parts{.added = std::move(added), .model = std::move(model)};
  parts.pre_tokenizers.emplace_back(pre_tokenizers::ByteLevel{.add_prefix_space = prefix_space});
  parts.decoders.emplace_back(decoders::ByteLevel{});
  parts.has_decoder = true;
  const auto codec = file.root().guard([&] { return std::make_shared<const Pipeline>(std::move(parts)); });

  SpecialIds special = folder.special_ids(*codec);
  if (end_id) {
    if (!special.bos) special.bos = end_id;
    if (!special.eos) special.eos = end_id, special.stop.push_back(*end_id);
    if (!special.unk) special.unk = end_id;
  }
  SequenceEnds ends;
  if (folder.flag("add_bos_token").value_or(false) && special.bos) ends.before.push_back(*special.bos);
  if (folder.flag("add_eos_token").value_or(false) && special.eos) ends.after.push_back(*special.eos);
  return Tokenizer(codec, std::move(special), std::move(ends));
}

[[nodiscard]] inline Tokenizer load_sentencepiece([[maybe_unused]] const std::filesystem::path& path,
                                                  [[maybe_unused]] const TokenizerFolder& folder) {
#ifdef RETORT_SENTENCEPIECE
  const std::string file = path.string();
  const std::string bytes = read_text_file(path);
  const JsonField whole({}, file);
  const SentencePieceCodec model = whole.guard([&] { return SentencePieceCodec(bytes); });
  std::vector<AddedToken> added;
  if (const auto config = folder.config())
    if (const auto extra = config->find("extra_ids")) {  // T5's, numbered from the end
      const auto count = static_cast<TokenId>(extra->integer(0, 10000));
      for (TokenId i = 0; i < count; ++i) {
        const TokenId id = model.size() + count - 1 - i;
        added.push_back(
            {.id = id, .content = fmt::format("<extra_id_{}>", i), .normalized = false, .special = true});
      }
    }
  folder.add_tokens(
      added, [&](std::string_view token) { return model.id(token); }, static_cast<std::size_t>(model.size()));
  const auto codec =
      whole.guard([&] { return std::make_shared<const SentencePieceCodec>(bytes, std::move(added)); });

  SpecialIds special = folder.special_ids(*codec);
  const SpecialIds own = codec->special();
  if (!special.bos) special.bos = own.bos;
  if (!special.eos) special.eos = own.eos, special.stop = own.stop;
  if (!special.pad) special.pad = own.pad;
  if (!special.unk) special.unk = own.unk;
  SequenceEnds ends;
  const auto bos = folder.flag("add_bos_token"), eos = folder.flag("add_eos_token");
  if (special.bos && bos.value_or(own.bos.has_value())) ends.before.push_back(*special.bos);
  if (special.eos && eos.value_or(!own.bos)) ends.after.push_back(*special.eos);
  return Tokenizer(codec, std::move(special), std::move(ends));
#else
  fail<FileError>("tokenizer",
                  "'{}' is a SentencePiece model, and this program was built without SentencePiece",
                  path.string());
#endif
}

/// The SentencePiece model of a folder: by a usual name, or the only one.
[[nodiscard]] inline std::optional<std::filesystem::path> find_sentencepiece(
    const std::filesystem::path& folder) {
  for (const char* name : {"spiece.model", "tokenizer.model", "sentencepiece.bpe.model"})
    if (std::filesystem::exists(folder / name)) return folder / name;
  std::vector<std::filesystem::path> models;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".model") models.push_back(entry.path());
  if (models.size() > 1)
    fail<FileError>("tokenizer", "'{}' has {} *.model files: name the one that is meant", folder.string(),
                    models.size());
  return models.empty() ? std::nullopt : std::optional(models.front());
}

/// What a folder's other files change of its tokenizer.json.
inline void apply(const TokenizerFolder& folder, PipelineParts& parts) {
  const Vocabulary& vocabulary =
      std::visit([](const auto& model) -> const Vocabulary& { return model.vocabulary(); }, parts.model);
  folder.add_tokens(
      parts.added, [&](std::string_view token) { return vocabulary.id(token); }, vocabulary.count());
  if (folder.is_gpt2() && parts.pre_tokenizers.size() == 1)
    if (auto* bytes = std::get_if<pre_tokenizers::ByteLevel>(&parts.pre_tokenizers.front()))
      bytes->add_prefix_space = folder.flag("add_prefix_space").value_or(false);
}

}  // namespace detail

inline Tokenizer load_tokenizer(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  if (!fs::exists(path)) fail<FileError>("tokenizer", "'{}' does not exist", path.string());
  const bool is_folder = fs::is_directory(path);
  const fs::path place = is_folder ? path : path.has_parent_path() ? path.parent_path() : fs::path(".");
  const detail::TokenizerFolder folder(place);
  if (!is_folder && path.extension() == ".model") return detail::load_sentencepiece(path, folder);
  if (!is_folder || fs::exists(folder / "tokenizer.json")) {
    const Tokenizer read =
        detail::TokenizerJson(is_folder ? folder / "tokenizer.json" : path).read([&](PipelineParts& parts) {
          detail::apply(folder, parts);
        });
    return read.with_special(folder.special_ids(read.codec()));
  }
  if (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"))
    return detail::load_gpt2_files(folder);
  if (const auto model = detail::find_sentencepiece(place)) return detail::load_sentencepiece(*model, folder);
  fail<FileError>("tokenizer", "'{}' has no tokenizer.json, no vocab.json with merges.txt and no *.model",
                  path.string());
}

}  // namespace retort
