#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/base64.hpp"
#include "retort/text/json_field.hpp"
#include "retort/text/pipeline.hpp"

/// tokenizer.json, the format of the Hugging Face tokenizers, version 1.0. Every fault of a file is a
/// FileError that names file and field, and so is a component that is not supported. Ids are those of the
/// Hugging Face tokenizers but for characters that only one side's Unicode tables know, and `truncation` and
/// `padding`, which are not applied (docs/how-to/use-a-tokenizer.md).
namespace retort::detail {

/// Reads the parts of one tokenizer.json.
class TokenizerJson {
 public:
  explicit TokenizerJson(const std::filesystem::path& path) : file_(path) {}

  /// The tokenizer. `amend(parts)` may change its parts before they are put together.
  template <class Amend>
  [[nodiscard]] Tokenizer read(Amend&& amend) const {
    const JsonField root = file_.root();
    if (const auto version = root.find("version"); version && version->string() != "1.0")
      version->complain("version '{}' is not supported, 1.0 is", version->string());
    PipelineParts parts{.model = model(root["model"])};
    if (const auto list = root.find("added_tokens"))
      list->for_each([&](const JsonField& token) { parts.added.push_back(added_token(token)); });
    if (const auto field = root.find("normalizer")) normalizer(*field, parts.normalizers, 0);
    if (const auto field = root.find("pre_tokenizer")) pre_tokenizer(*field, parts.pre_tokenizers, 0);
    if (const auto field = root.find("decoder")) {
      parts.has_decoder = true;
      decoder(*field, parts.decoders, 0);
    }
    amend(parts);
    auto pipeline = root.guard([&] { return std::make_shared<const Pipeline>(std::move(parts)); });
    SequenceEnds ends;
    if (const auto field = root.find("post_processor")) post_processor(*field, ends, 0);
    return Tokenizer(std::move(pipeline), {}, std::move(ends));
  }

  /// An added token of tokenizer.json, or of tokenizer_config.json, where its id stands outside it.
  static AddedToken added_token(const JsonField& field, std::optional<TokenId> id = {}) {
    const bool special = field.boolean_or("special", false);
    return {.id = id ? *id : static_cast<TokenId>(field["id"].integer(0, Vocabulary::largest)),
            .content = field["content"].string(),
            .single_word = field.boolean_or("single_word", false),
            .lstrip = field.boolean_or("lstrip", false),
            .rstrip = field.boolean_or("rstrip", false),
            .normalized = field.boolean_or("normalized", !special),
            .special = special};
  }

 private:
  JsonFile file_;

  [[noreturn]] static void unsupported(const JsonField& field, const char* kind) {
    field.complain("the {} '{}' is not supported", kind, field["type"].string());
  }
  static void check_depth(const JsonField& field, int depth) {
    if (depth > 16) field.complain("sequences are nested too deeply");
  }

  static std::variant<Bpe, Unigram> model(const JsonField& field) {
    // Old files leave the type out; of the two kinds only Bpe has merges.
    const auto type = field.find("type");
    const std::string kind = type ? type->string() : field.find("merges") ? "BPE" : "Unigram";
    if (kind == "BPE") return bpe(field);
    if (kind == "Unigram") return unigram(field);
    field.complain("the model '{}' is not supported", kind);
  }

  static Bpe bpe(const JsonField& field) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (const auto affix = field.find(key); affix && !affix->string().empty())
        affix->complain("'{}' is not supported", affix->string());
    if (const auto dropout = field.find("dropout"); dropout && dropout->number() != 0)
      dropout->complain("dropout is not supported");
    Bpe::Options options{.fuse_unknown = field.boolean_or("fuse_unk", false),
                         .byte_fallback = field.boolean_or("byte_fallback", false),
                         .ignore_merges = field.boolean_or("ignore_merges", false)};
    if (const auto unknown = field.find("unk_token"); unknown && !unknown->string().empty())
      options.unknown = unknown->string();
    Vocabulary vocabulary;
    field["vocab"].for_each_member([&](const std::string& token, const JsonField& id) {
      id.guard([&] { vocabulary.add(token, id.integer(0, Vocabulary::largest)); });
    });
    Bpe model = field.guard([&] { return Bpe(std::move(vocabulary), std::move(options)); });
    field["merges"].for_each([&](const JsonField& merge) {
      const auto [left, right] = merge_of(merge);
      merge.guard([&] { model.add_merge(left, right); });
    });
    return model;
  }

  static std::pair<std::string_view, std::string_view> merge_of(const JsonField& merge) {
    const auto& value = merge.value();
    if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string())
      return {value[0].get_ref<const std::string&>(), value[1].get_ref<const std::string&>()};
    if (value.is_string()) {
      const std::string_view text = value.get_ref<const std::string&>();
      const auto space = text.find(' ');
      if (space != text.npos && text.find(' ', space + 1) == text.npos)
        return {text.substr(0, space), text.substr(space + 1)};
    }
    merge.expected("two tokens");
  }

  static Unigram unigram(const JsonField& field) {
    Vocabulary vocabulary;
    std::vector<double> scores;
    field["vocab"].for_each([&](const JsonField& entry) {
      const auto& value = entry.value();
      if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_number())
        entry.expected("a token and its score");
      entry.guard(
          [&] { vocabulary.add(value[0].get<std::string>(), static_cast<std::int64_t>(scores.size())); });
      scores.push_back(value[1].get<double>());
    });
    Unigram::Options options{.byte_fallback = field.boolean_or("byte_fallback", false)};
    if (const auto unknown = field.find("unk_id"))
      options.unknown = static_cast<TokenId>(unknown->integer(0, Vocabulary::largest));
    return field.guard([&] { return Unigram(std::move(vocabulary), std::move(scores), options); });
  }

  // A pattern is {"String": text} or {"Regex": pattern}.
  static Regex pattern(const JsonField& field) {
    if (const auto text = field.find("String"))
      return text->guard([&] { return Regex::literal(text->string()); });
    const auto regex = field["Regex"];
    return regex.guard([&] { return Regex(regex.string()); });
  }

  static void normalizer(const JsonField& field, std::vector<Normalizer>& to, int depth) {
    using namespace normalizers;
    check_depth(field, depth);
    const std::string& type = field["type"].string();
    if (type == "Sequence")
      field["normalizers"].for_each([&](const JsonField& part) { normalizer(part, to, depth + 1); });
    else if (type == "NFC")
      to.emplace_back(Unicode{Unicode::Form::nfc});
    else if (type == "NFD")
      to.emplace_back(Unicode{Unicode::Form::nfd});
    else if (type == "NFKC")
      to.emplace_back(Unicode{Unicode::Form::nfkc});
    else if (type == "NFKD")
      to.emplace_back(Unicode{Unicode::Form::nfkd});
    else if (type == "Lowercase")
      to.emplace_back(Lowercase{});
    else if (type == "Prepend")
      to.emplace_back(Prepend{field["prepend"].string()});
    else if (type == "Replace")
      to.emplace_back(Replace{{pattern(field["pattern"]), field["content"].string()}});
    else if (type == "Strip")
      to.emplace_back(Strip{field["strip_left"].boolean(), field["strip_right"].boolean()});
    else if (type == "StripAccents")
      to.emplace_back(StripAccents{});
    else if (type == "ByteLevel")
      to.emplace_back(normalizers::ByteLevel{});
    else if (type == "Precompiled")
      charsmap(field["precompiled_charsmap"], to);
    else
      unsupported(field, "normalizer");
  }
  static void charsmap(const JsonField& field, std::vector<Normalizer>& to) {
    field.guard([&] { to.emplace_back(Charsmap(from_base64(field.string()))); });
  }

  static pre_tokenizers::Behavior behavior(const JsonField& field) {
    using enum pre_tokenizers::Behavior;
    const std::string& name = field.string();
    if (name == "Isolated") return isolated;
    if (name == "Removed") return removed;
    if (name == "MergedWithPrevious") return merged_with_previous;
    if (name == "MergedWithNext") return merged_with_next;
    if (name == "Contiguous") return contiguous;
    field.expected("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
  }

  static void pre_tokenizer(const JsonField& field, std::vector<PreTokenizer>& to, int depth) {
    using namespace pre_tokenizers;
    check_depth(field, depth);
    const std::string& type = field["type"].string();
    if (type == "Sequence")
      field["pretokenizers"].for_each([&](const JsonField& part) { pre_tokenizer(part, to, depth + 1); });
    else if (type == "ByteLevel")
      to.emplace_back(pre_tokenizers::ByteLevel{field["add_prefix_space"].boolean(),
                                                field.boolean_or("use_regex", true)});
    else if (type == "Split")
      to.emplace_back(
          Split{pattern(field["pattern"]), behavior(field["behavior"]), field["invert"].boolean()});
    else if (type == "Digits")
      to.emplace_back(Split{Regex("\\p{N}"), field.boolean_or("individual_digits", false)
                                                 ? Behavior::isolated
                                                 : Behavior::contiguous});
    else if (type == "Punctuation") {
      const auto given = field.find("behavior");
      to.emplace_back(Split{Regex("[\\p{P}$+<=>^`|~]"), given ? behavior(*given) : Behavior::isolated});
    } else if (type == "Whitespace")
      to.emplace_back(
          Split{Regex("[\\w\\x{200C}\\x{200D}]+|[^\\w\\x{200C}\\x{200D}\\s]+"), Behavior::removed, true});
    else if (type == "WhitespaceSplit")
      to.emplace_back(Split{Regex("\\s"), Behavior::removed});
    else if (type == "Metaspace")
      to.emplace_back(metaspace(field));
    else
      unsupported(field, "pre-tokenizer");
  }

  static pre_tokenizers::Metaspace metaspace(const JsonField& field) {
    using Prepend = pre_tokenizers::Metaspace::Prepend;
    pre_tokenizers::Metaspace step{.replacement = character(field["replacement"]),
                                   .split = field.boolean_or("split", true)};
    if (const auto scheme = field.find("prepend_scheme")) {
      const std::string& name = scheme->string();
      if (name != "always" && name != "first" && name != "never") scheme->expected("always, first or never");
      step.prepend = name == "always" ? Prepend::always : name == "first" ? Prepend::first : Prepend::never;
    } else if (!field.boolean_or("add_prefix_space", true)) {
      step.prepend = Prepend::never;
    }
    return step;
  }
  static std::string character(const JsonField& field) {
    const std::string& text = field.string();
    if (text.empty() || utf8::first(text).size != text.size()) field.expected("one character");
    return text;
  }

  static void decoder(const JsonField& field, std::vector<DecoderStep>& to, int depth) {
    using namespace decoders;
    check_depth(field, depth);
    const std::string& type = field["type"].string();
    if (type == "Sequence") {
      field["decoders"].for_each([&](const JsonField& part) { decoder(part, to, depth + 1); });
    } else if (type == "ByteLevel") {
      to.emplace_back(decoders::ByteLevel{});
    } else if (type == "Metaspace") {
      const auto step = metaspace(field);
      to.emplace_back(Metaspace{step.replacement, step.prepend != pre_tokenizers::Metaspace::Prepend::never});
    } else if (type == "Replace") {
      to.emplace_back(Replace{pattern(field["pattern"]), field["content"].string()});
    } else if (type == "ByteFallback") {
      to.emplace_back(ByteFallback{});
    } else if (type == "Fuse") {
      to.emplace_back(Fuse{});
    } else if (type == "Strip") {
      to.emplace_back(
          Strip{character(field["content"]), field.integer_or("start", 0), field.integer_or("stop", 0)});
    } else {
      unsupported(field, "decoder");
    }
  }

  // Wraps `inner` around what stands between the ends so far.
  static void wrap(SequenceEnds& ends, const SequenceEnds& outer) {
    ends.before.insert(ends.before.begin(), outer.before.begin(), outer.before.end());
    ends.after.insert(ends.after.end(), outer.after.begin(), outer.after.end());
  }

  static void post_processor(const JsonField& field, SequenceEnds& ends, int depth) {
    check_depth(field, depth);
    const std::string& type = field["type"].string();
    if (type == "Sequence") {
      field["processors"].for_each([&](const JsonField& part) { post_processor(part, ends, depth + 1); });
    } else if (type == "TemplateProcessing") {
      wrap(ends, template_ends(field));
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      wrap(ends, {{pair_id(field["cls"])}, {pair_id(field["sep"])}});
    } else if (type != "ByteLevel") {  // which moves offsets, and no ids
      unsupported(field, "post-processor");
    }
  }

  static TokenId pair_id(const JsonField& field) {
    const auto& value = field.value();
    if (!value.is_array() || value.size() != 2) field.expected("a token and its id");
    TokenId id = 0;
    std::size_t place = 0;
    field.for_each([&](const JsonField& part) {
      if (place++ == 1) id = static_cast<TokenId>(part.integer(0, Vocabulary::largest));
    });
    return id;
  }

  static SequenceEnds template_ends(const JsonField& field) {
    SequenceEnds ends;
    bool behind = false;
    field["single"].for_each([&](const JsonField& part) {
      if (const auto sequence = part.find("Sequence")) {
        if (behind || (*sequence)["id"].string() != "A") sequence->expected("the sequence A, once");
        behind = true;
        return;
      }
      const JsonField name = part["SpecialToken"]["id"];
      const auto tokens = field.find("special_tokens");
      const auto entry = tokens ? tokens->find(name.string().c_str()) : std::nullopt;
      if (!entry) name.complain("'{}' is none of special_tokens", name.string());
      (*entry)["ids"].for_each([&](const JsonField& id) {
        (behind ? ends.after : ends.before)
            .push_back(static_cast<TokenId>(id.integer(0, Vocabulary::largest)));
      });
    });
    if (!behind) field["single"].complain("it has no sequence");
    return ends;
  }
};

}  // namespace retort::detail
