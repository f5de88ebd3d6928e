#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <istream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "g2p/line_parser.hpp"
#include "retort/core/error.hpp"

/// The CMU Pronouncing Dictionary, in festival's format or its own, and its division into parts.
namespace g2p {

/// A word and its different pronunciations, in the order of the file.
struct Entry {
  std::string word;  ///< lower case
  std::vector<Pronunciation> pronunciations;
};

/// Words that were left out: how many, and the first few of them as "WORD (line N)".
struct Skipped {
  int count = 0;
  std::vector<std::string> named;

  static constexpr int most_named = 5;

  void add(std::string_view word, int line) {
    if (count++ < most_named) named.push_back(fmt::format("{} (line {})", printable(word), line));
  }
};

/// What a reader leaves out or keeps.
struct ReadOptions {
  bool keep_stress = false;  ///< "ah0", "ah1" and "ah2" are different phonemes
  int most_letters = 30;     ///< longer words are skipped and counted
  int most_phonemes = 30;    ///< so are longer pronunciations
};

struct Dictionary {
  std::vector<Entry> entries;  ///< in the order of their first line
  Format format = Format::cmu;
  Skipped foreign;   ///< words with a character that is neither a letter a-z nor an apostrophe
  Skipped too_long;  ///< words or pronunciations over the limits of ReadOptions

  /// Number of (word, pronunciation) pairs.
  [[nodiscard]] int pronunciations() const {
    int count = 0;
    for (const Entry& entry : entries) count += static_cast<int>(entry.pronunciations.size());
    return count;
  }
};

/// Lower-case letters and the apostrophe, and nothing else.
[[nodiscard]] inline bool is_spelled_plainly(std::string_view word) {
  return !word.empty() &&
         std::ranges::all_of(word, [](char c) { return (c >= 'a' && c <= 'z') || c == '\''; });
}

/// Reads a dictionary from `in`; `name` stands for it in messages. The format is recognised by the first line
/// that is neither empty nor a comment. FileError: a malformed line (with its number), or no usable word at
/// all.
[[nodiscard]] inline Dictionary read_dictionary(std::istream& in, std::string_view name,
                                                ReadOptions options = {}) {
  Dictionary out;
  std::unordered_map<std::string, std::size_t> index;  // word -> place in entries
  std::string text;
  bool begun = false;
  int number = 0;
  while (std::getline(in, text)) {
    ++number;
    if (number == 1 && text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);  // UTF-8's byte order mark
    const std::string_view line = trimmed(text);
    const bool may_be_word = begun && out.format == Format::cmu;  // cmudict spells out ";SEMI-COLON", too
    if (line.empty() || line.starts_with(may_be_word ? ";;;" : ";")) continue;
    if (!std::exchange(begun, true)) {
      out.format = recognised_format(line);
      if (line == festival_header) continue;
    }
    LineParser parser(line, name, number, options.keep_stress);
    auto [word, pronunciation] = out.format == Format::festival ? parser.festival() : parser.cmu();
    if (!is_spelled_plainly(word)) {
      out.foreign.add(word, number);
    } else if (std::ssize(word) > options.most_letters || std::ssize(pronunciation) > options.most_phonemes) {
      out.too_long.add(word, number);
    } else {
      const auto [at, is_new] = index.try_emplace(word, out.entries.size());
      if (is_new) out.entries.push_back({std::move(word), {}});
      auto& known = out.entries[at->second].pronunciations;
      if (std::ranges::find(known, pronunciation) == known.end()) known.push_back(std::move(pronunciation));
    }
  }
  if (in.bad())
    retort::fail<retort::FileError>("dictionary", "{}: reading failed after line {}", name, number);
  if (number == 0)
    retort::fail<retort::FileError>("dictionary", "{}: the file is empty, a dictionary was expected", name);
  if (!begun)
    retort::fail<retort::FileError>("dictionary", "{}: no entries, lines 1 to {} are empty or comments", name,
                                    number);
  if (out.entries.empty())
    retort::fail<retort::FileError>(
        "dictionary", "{}: none of the {} lines has a usable word ({} with other letters, {} too long)", name,
        number, out.foreign.count, out.too_long.count);
  return out;
}

/// Reads the dictionary in the file `path`. FileError also if it is missing or not a file.
[[nodiscard]] inline Dictionary read_dictionary(const std::filesystem::path& path, ReadOptions options = {}) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (!std::filesystem::exists(status))
    retort::fail<retort::FileError>("dictionary", "{}: there is no such file", path.string());
  if (std::filesystem::is_directory(status))
    retort::fail<retort::FileError>("dictionary", "{}: this is a folder, a dictionary file was expected",
                                    path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) retort::fail<retort::FileError>("dictionary", "{}: the file cannot be opened", path.string());
  return read_dictionary(in, path.string(), options);
}

/// The parts of a dictionary.
enum class Part { train, valid, test };

/// The part of a word: 90 % train, 5 % valid, 5 % test, by a hash of its spelling (FNV-1a, then the finalizer
/// of splitmix64), so it does not depend on the rest of the dictionary. All pronunciations of a word share
/// its part.
[[nodiscard]] inline Part part_of(std::string_view word) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ull;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebull;
  const std::uint64_t twentieth = (hash ^ (hash >> 31)) % 20;
  return twentieth == 0 ? Part::test : twentieth == 1 ? Part::valid : Part::train;
}

/// The entries of one part, in the order of the dictionary.
[[nodiscard]] inline std::vector<Entry> entries_of(const Dictionary& dictionary, Part part) {
  std::vector<Entry> out;
  std::ranges::copy_if(dictionary.entries, std::back_inserter(out),
                       [part](const Entry& entry) { return part_of(entry.word) == part; });
  return out;
}

}  // namespace g2p
