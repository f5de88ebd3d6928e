// Text from a language model in a Hugging Face folder: one prompt to the terminal, token by token, or a file
// of prompts to a file of JSON lines.

#include <cstdio>
#include <future>

#include "generate/engine.hpp"
#include "generate/flags.hpp"
#include "generate/generation_config.hpp"
#include "generate/output.hpp"
#include "generate/prompts.hpp"
#include "generate/response_text.hpp"
#include "retort/core/parallel.hpp"
#include "retort/io/progress.hpp"
#include "retort/training/interrupt.hpp"
#include "support/program.hpp"
#include "support/tokens.hpp"

namespace {

using namespace generator;
using retort::fail, retort::ValueError, retort::steady_seconds;

/// The stream of random numbers of a prompt's sample, of its id alone (FNV-1a, Fowler, Noll and Vo).
std::uint64_t stream_of(const Prompt& prompt, Index sample) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : fmt::format("{} {}", prompt.id.dump(), sample))
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

/// Throws ValueError for a prompt that is too long, or has too little room behind it. `what` is the engine's
/// part in messages: model or draft.
void check_length(const Engine& engine, const char* what, const Settings& s, const Prompt& prompt,
                  Index tokens) {
  const auto positions = engine.positions();
  if (!positions || tokens + s.max_tokens - 1 <= *positions) return;
  const auto begin =
      fmt::format("{} has {} tokens, the {} has {} positions", prompt.name(), tokens, what, *positions);
  if (tokens > *positions) fail<ValueError>("prompt", "{}", begin);
  fail<ValueError>("prompt", "{}: --max-tokens {} at most", begin, *positions - tokens + 1);
}

/// Throws ValueError unless the model has a row for each of the tokenizer's ids.
void check_rows(const Engine& engine, const char* what, const std::string& folder,
                const retort::Tokenizer& tokenizer) {
  if (engine.vocabulary() < tokenizer.vocabulary())
    fail<ValueError>("tokenizer",
                     "'{}': the {} has {} rows for tokens, the tokenizer's largest id is {}: they do not "
                     "belong together",
                     folder, what, engine.vocabulary(), tokenizer.vocabulary() - 1);
}

struct Counts {
  double loaded = 0, first_token = 0;  // seconds since the start; 0: not seen
  double generating = 0;               // seconds
  Index prompts = 0, prompt_tokens = 0, tokens = 0;
  Index judged = 0, accepted = 0, passes = 0;  // of a draft's proposals, see Responses
};

void print_summary(const Engine& engine, const Counts& c) {
  fmt::print(stderr, "{}, {:.1f} M parameters, loaded in {:.2f} s; {} prompt{} of {} tokens; ",
             engine.family(), static_cast<double>(engine.parameters()) / 1e6, c.loaded, c.prompts,
             c.prompts == 1 ? "" : "s", c.prompt_tokens);
  if (c.first_token > 0) fmt::print(stderr, "first token after {:.2f} s; ", c.first_token);
  const auto ratio = [](auto a, auto b) {
    return static_cast<double>(a) / std::max(static_cast<double>(b), 1e-9);
  };
  fmt::print(stderr, "{} tokens in {:.2f} s, {:.1f} tokens/s", c.tokens, c.generating,
             ratio(c.tokens, c.generating));
  if (const Engine* draft = engine.draft())
    fmt::print(stderr,
               "; draft of {:.1f} M parameters: {:.1f} % of {} proposals accepted, {:.2f} tokens a pass",
               static_cast<double>(draft->parameters()) / 1e6, 100 * ratio(c.accepted, c.judged), c.judged,
               ratio(c.tokens, c.passes));
  fmt::print(stderr, "\n");
}

int run(const Settings& s, double start) {
  check(s);
  support::require(s.device);
  if (s.threads > 0) retort::set_thread_count(s.threads);
  const std::vector<Prompt> prompts = prompts_of(s);
  const retort::PromptFormat format = format_of(s);
  Output output(s);

  auto loading = std::async(std::launch::async, [&] {
    auto loaded = support::load_tokens(s.model);
    if (s.draft) support::require_same_tokens(loaded, support::load_tokens(*s.draft), "model and draft");
    return loaded;
  });
  const std::unique_ptr<Engine> loaded =
      support::with_backend(s.device, [&]<class B>(B) { return load_engine<B>(s.model, s.draft); });
  const Engine& engine = *loaded;
  const Engine* draft = engine.draft();
  const retort::Tokenizer tokenizer = loading.get();
  check_rows(engine, "model", s.model, tokenizer);
  if (draft) {
    check_rows(*draft, "draft", *s.draft, tokenizer);
    if (draft->is_decoder() != engine.is_decoder())
      fail<ValueError>("draft", "'{}' has {} encoder, the model has {}", *s.draft,
                       draft->is_decoder() ? "no" : "an", engine.is_decoder() ? "none" : "one");
  }
  if (const auto fields = fields_not_applied(s.model); !fields.empty())
    fmt::print(stderr, "generate: of generation_config.json not applied: {}\n", fields);
  const auto ends = s.ignore_end ? std::vector<std::int32_t>{} : tokenizer.stop();

  std::vector<std::vector<std::int32_t>> tokens;
  for (const Prompt& p : prompts) {
    tokens.push_back(encode(tokenizer, format, p, !s.no_special, !engine.is_decoder()));
    check_length(engine, "model", s, p, std::ssize(tokens.back()));
    if (draft) check_length(*draft, "draft", s, p, std::ssize(tokens.back()));
  }
  Counts counts{.loaded = steady_seconds() - start};

  // Samples of a prompt are sequences of their own; the hypotheses of a beam search come from one.
  const Index each = s.searches() ? 1 : s.samples;
  const Index at_once = std::max<Index>(1, s.batch / std::max(each, s.beams.value_or(1)));
  const bool streams =
      output.is_terminal() && !s.json() && prompts.size() == 1 && s.samples == 1 && !s.searches();
  std::optional<retort::InterruptGuard> guard;
  std::optional<retort::Progress> progress;
  if (std::ssize(prompts) > at_once) guard.emplace();
  if (s.prompts && !s.quiet)
    progress.emplace(retort::ProgressOptions{
        .label = "generate", .unit = "prompts", .total = std::ssize(prompts), .is_terminal = {}});

  const auto total = static_cast<std::size_t>(std::ssize(prompts));
  for (std::size_t first = 0; first < total && !(guard && guard->stop_requested());
       first += static_cast<std::size_t>(at_once)) {
    const std::size_t last = std::min(total, first + static_cast<std::size_t>(at_once));
    std::vector<Request> requests;
    for (std::size_t i = first; i < last; ++i) {
      for (Index k = 0; k < each; ++k) requests.push_back({tokens[i], stream_of(prompts[i], k)});
      ++counts.prompts, counts.prompt_tokens += std::ssize(tokens[i]);
    }
    const auto before = [&](std::size_t i) {
      return engine.is_decoder() ? tokens[i] : std::vector<std::int32_t>{};
    };
    std::optional<ResponseText> shown;
    if (streams) shown.emplace(tokenizer, before(0));

    const double began = steady_seconds();
    const auto responses = engine.respond(requests, s, ends, [&](std::int32_t token) {
      if (counts.first_token == 0) counts.first_token = steady_seconds() - start;
      if (shown) output.write(shown->push(token));
    });
    counts.generating += steady_seconds() - began;
    counts.judged += responses.judged, counts.accepted += responses.accepted;
    counts.passes += responses.passes;

    std::string text;
    for (std::size_t r = 0; r < responses.of.size(); ++r) {
      const std::size_t i = first + r / static_cast<std::size_t>(each);
      Index sample = static_cast<Index>(r) % each;
      for (const Response& response : responses.of[r]) {
        counts.tokens += std::ssize(response.tokens);
        const std::string said = shown ? shown->finish() : text_of(tokenizer, before(i), response.tokens);
        text += s.json() ? json_line(s, prompts[i], ++sample, said, response) : said + "\n";
      }
    }
    output.write(text);
    if (progress) progress->advance(static_cast<Index>(last - first));
  }
  output.finish();
  if (progress) progress->finish();
  if (!s.quiet) print_summary(engine, counts);
  return std::ssize(prompts) == counts.prompts ? 0 : support::exit_stopped;
}

}  // namespace

int main(int argc, char** argv) {
  const double start = steady_seconds();
  Settings settings;
  CLI::App app("Text from a language model in a Hugging Face folder.");
  add_flags(app, settings);
  return support::run_program("generate", app, argc, argv, [&] { return run(settings, start); });
}
