#include "distill/examples.hpp"

#include <algorithm>

#include "support/program.hpp"

namespace distill {

using retort::Batch, retort::fail, retort::FileError, retort::Index, retort::ValueError;

namespace {

/// The number of the first line of --held-out; lines of --data have lower ones.
constexpr std::uint64_t first_held_out = std::uint64_t{1} << 32;

Batch first(const Batch& all, int count) {
  return count > 0 && count < all.size() ? all.slice(0, count) : all;
}

/// The examples of a teacher's file that were those of --held-out, or all others.
Data data_of(const retort::TeacherFile& file, const DataOptions& o, bool held_out) {
  const Batch all = file.data();
  Data data;
  for (int i = 0; i < all.size(); ++i) {
    const std::uint64_t id = all.ids[static_cast<std::size_t>(i)];
    if ((id >= first_held_out) != held_out) continue;
    const int prompt = all.prompts.length(i), response = all.responses.length(i);
    if (prompt == 0 || response == 0)
      ++data.empty;
    else if (prompt > o.max_prompt)
      ++data.too_long;
    else if (response > o.max_tokens)
      ++data.too_long_responses;
    else
      data.examples.push_back(all.prompts[i], all.responses[i], id);
  }
  if (data.examples.empty() && !held_out)
    fail<FileError>("data", "'{}' has no usable example in {}{}", file.path().string(), file.examples(),
                    data.remarks(o));
  return data;
}

/// Whose examples are held out, where they are not the last of the data.
std::optional<Data> held_out_data(const Settings& s, const retort::Tokenizer& tokenizer,
                                  const DataOptions& options, const retort::TeacherFile* file) {
  if (!s.held_out.empty()) return read_data(s.held_out, tokenizer, options, first_held_out);
  if (!s.data.empty() || file == nullptr) return std::nullopt;
  Data own = data_of(*file, options, true);
  return own.examples.empty() ? std::nullopt : std::optional(std::move(own));
}

}  // namespace

DataOptions data_options(const Settings& s, std::int32_t end_token, bool needs_response,
                         std::initializer_list<std::optional<Index>> positions) {
  DataOptions options{.prompt_field = s.prompt_field,
                      .response_field = s.response_field,
                      .format = s.format,
                      .max_prompt = s.max_prompt,
                      .max_tokens = s.max_tokens,
                      .end_token = end_token,
                      .needs_response = needs_response,
                      .decoder = positions.begin()->has_value()};
  for (const auto& room : positions) {
    if (!room) continue;
    const Index left = *room - s.max_tokens;
    if (left < 1)
      fail<ValueError>("distill", "--max-tokens {} leaves no room for a prompt in {} positions", s.max_tokens,
                       *room);
    options.max_prompt = static_cast<int>(std::min<Index>(options.max_prompt, left));
  }
  return options;
}

Examples read_examples(const Settings& s, const retort::Tokenizer& tokenizer, const DataOptions& options,
                       const retort::TeacherFile* file) {
  const Data data = s.data.empty() ? data_of(*file, options, false) : read_data(s.data, tokenizer, options);
  Examples examples{.train = data.examples, .remarks = data.remarks(options)};
  if (const auto other = held_out_data(s, tokenizer, options, file)) {
    examples.held_out = first(other->examples, s.held_out_count);
    examples.has_references = other->has_responses;
  } else {
    const int rest = data.examples.size() - s.held_out_count;
    if (rest < 1)
      fail<ValueError>("distill", "{} usable examples, of which {} are held out: none is left to train on",
                       data.examples.size(), s.held_out_count);
    examples.held_out = data.examples.slice(rest, data.examples.size());
    examples.train = data.examples.slice(0, rest);
    examples.has_references = data.has_responses;
  }
  examples.train = first(examples.train, s.most_examples);
  if (file != nullptr)
    support::with_advice<FileError>("without --data and --held-out the file's own examples are used", [&] {
      file->require(examples.train);
      file->require(examples.held_out);
    });
  return examples;
}

std::string digest_of(const retort::Tokenizer& tokenizer) {
  return fmt::format("{:016x}", tokenizer.digest());
}

}  // namespace distill
