#pragma once

#include "generate/settings.hpp"
#include "retort/core/error.hpp"
#include "support/flags.hpp"

/// The command line.
namespace generator {

inline void add_flags(CLI::App& app, Settings& s) {
  app.add_option("--model", s.model, "Hugging Face folder: config.json, weights, tokenizer")->required();
  auto* prompt = app.add_option("--prompt", s.prompt, "one prompt; '' is allowed");
  app.add_option("--prompts", s.prompts,
                 "file of prompts: one a line, or NAME.jsonl with {\"id\", \"prompt\"} a line")
      ->excludes(prompt);
  auto* format =
      app.add_option("--template", s.format,
                     "text around the prompt, e.g. 'Question: {prompt}\\nAnswer:'; {{ and }} are braces");
  app.add_option("--template-file", s.template_file, "the same from a file")->excludes(format);
  app.add_flag("--no-special", s.no_special, "no tokens around the prompt that the tokenizer would add");

  const support::FlagGroup decoding{app, "Decoding"};
  decoding.positive("--max-tokens", s.max_tokens, "longest response");
  decoding.positive("--samples", s.samples, "responses to each prompt; of a beam search the best");
  decoding.not_negative("--seed", s.seed, "of the draws");
  decoding.positive("--temperature", s.temperature, "draw from logits divided by this; without, greedy");
  decoding.not_negative("--top-k", s.top_k, "draw from the K most probable tokens; 0: from all");
  decoding.in("--top-p", s.top_p, 0, 1, "draw from the most probable tokens that together reach P");
  decoding.positive("--beams", s.beams, "beam search with so many hypotheses");
  decoding.one_of("--penalty", s.penalty, {"power", "gnmt"},
                  "a hypothesis' log-probability is divided by: power, L^A; gnmt, ((5 + L) / 6)^A");
  decoding.number("--length-penalty", s.length_penalty, "A; above 0 prefers longer responses (default 1)");
  decoding.one_of("--beam-stop", s.beam_stop, {"exact", "current"},
                  "exact: until nothing better can come; current: until nothing better is there");
  decoding.add(
      "--draft", s.draft,
      "folder of a smaller model with the same tokens, which proposes what --model judges (speculative "
      "decoding): faster, the same distribution");
  decoding.positive("--draft-tokens", s.draft_tokens, "tokens it proposes at a time (default 4)");
  decoding.flag("--ignore-end", s.ignore_end, "always go on to --max-tokens");

  const support::FlagGroup output{app, "Output"};
  output.add("--out", s.out, "file for the responses, written whole; default: standard output");
  output.one_of("--format", s.output_format, {"text", "jsonl"},
                "text or jsonl (default for --prompts and --out)");
  output.positive("--batch", s.batch, "sequences at a time");
  support::add_device_flags(app, s.device, "Output");
  output.not_negative("--threads", s.threads, "threads; 0: all cores");
  output.flag("--quiet", s.quiet, "no summary and no progress");
  support::let_last_count(app);
}

/// Throws ValueError for flags that contradict each other.
inline void check(const Settings& s) {
  const auto refuse = [](bool wrong, const char* why) {
    if (wrong) retort::fail<retort::ValueError>("flags", "{}", why);
  };
  refuse(!s.prompt && !s.prompts, "give --prompt or --prompts");
  refuse(s.beams && s.draws(),
         "--beams searches, --temperature, --top-k and --top-p draw: give one or the other");
  refuse(!s.beams && (s.penalty || s.length_penalty || s.beam_stop),
         "--penalty, --length-penalty and --beam-stop are of a beam search: give --beams");
  refuse(
      s.samples > 1 && !s.draws() && !s.searches(),
      "greedy decoding has one response: for more --samples give --temperature, --top-k, --top-p or --beams");
  refuse(s.draft && s.searches(),
         "--draft proposes for greedy decoding and draws, --beams searches: give one or the other");
  refuse(s.draft_tokens && !s.draft, "--draft-tokens is how far a draft runs ahead: give --draft");
  refuse(s.searches() && s.samples > *s.beams, "a beam search has as many responses as --beams at most");
}

}  // namespace generator
