#pragma once

#include <set>
#include <string>
#include <vector>

#include "arithmetic/gsm8k.hpp"
#include "arithmetic/vocabulary.hpp"
#include "retort/core/batch.hpp"
#include "retort/core/shape.hpp"

/// Training, validation and test problems, as texts and as tokens.
namespace arithmetic {

/// Texts in three parts that share no question.
struct Texts {
  std::vector<Problem> train, valid, test;
  int repeated = 0;  ///< problems left out because their question was there already
};

/// Problems of the generator: the first `test` of the stream are to test, the next `valid` to validate.
/// ValueError as `make_problems`.
[[nodiscard]] inline Texts generated_texts(std::uint64_t seed, int train, int valid, int test,
                                           const ProblemLimits& limits) {
  const auto all = make_problems(seed, train + valid + test, limits);
  const auto at = [&](int i) { return all.begin() + i; };
  return {{at(test + valid), all.end()}, {at(test), at(test + valid)}, {at(0), at(test)}};
}

/// GSM8K's train.jsonl and test.jsonl in `folder`: the last `valid` of train.jsonl validate. Questions of the
/// test file, and repeated ones, are left out of the others and counted. FileError as `read_gsm8k`, and if
/// too few are left.
[[nodiscard]] inline Texts gsm8k_texts(const std::string& folder, int valid) {
  Texts out;
  std::set<std::string> seen;
  const auto add = [&](const std::string& name, std::vector<Problem>& part) {
    for (Problem& problem : read_gsm8k(folder + "/" + name))
      if (seen.insert(problem.question).second)
        part.push_back(std::move(problem));
      else
        ++out.repeated;
  };
  add("test.jsonl", out.test);
  add("train.jsonl", out.train);
  if (std::ssize(out.train) <= valid)
    retort::fail<retort::FileError>("gsm8k", "'{}' has {} problems to train on, {} are to validate", folder,
                                    out.train.size(), valid);
  out.valid.assign(out.train.end() - valid, out.train.end());
  out.train.resize(out.train.size() - static_cast<std::size_t>(valid));
  return out;
}

/// Problems as tokens: a prompt is the question and a line feed, a response is the solution and the end.
struct Part {
  retort::Batch batch;               ///< examples numbered from 0
  std::vector<std::string> answers;  ///< the solutions' texts: answers[id]
};

/// What was left out on the way to tokens.
struct Skipped {
  int unknown = 0;   ///< a character that there is no token for
  int too_long = 0;  ///< the solution is longer than `max_tokens`
  int no_room = 0;   ///< the prompt leaves no room for `max_tokens` within `positions`
};

/// The tokens of `problems`, of which the first `most` that fit are taken (0: all).
[[nodiscard]] inline Part tokens_of(std::span<const Problem> problems, const Vocabulary& vocabulary,
                                    retort::Index positions, retort::Index max_tokens, Skipped& skipped,
                                    int most = 0) {
  Part out;
  for (const Problem& problem : problems) {
    if (most > 0 && out.batch.size() == most) break;
    const auto prompt = vocabulary.encode(problem.question + "\n");
    auto response = vocabulary.encode(problem.answer);
    if (!prompt || !response) {
      ++skipped.unknown;
    } else if (std::ssize(*response) + 1 > max_tokens) {
      ++skipped.too_long;
    } else if (std::ssize(*prompt) + max_tokens > positions) {
      ++skipped.no_room;
    } else {
      response->push_back(Vocabulary::end);
      out.batch.push_back(*prompt, *response, static_cast<std::uint64_t>(out.batch.size()));
      out.answers.push_back(problem.answer);
    }
  }
  return out;
}

}  // namespace arithmetic
