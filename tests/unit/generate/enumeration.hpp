#pragma once

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "naive.hpp"
#include "tiny_models.hpp"

/// Everything that can happen in decoding, with its probability: from uncached forward passes, in plain
/// double.
namespace retort::test {

using Draw = Filters<Temperature, TopK, TopP>;
inline const Draw keep_all;

/// The rows that a model draws next tokens from.
template <class Model>
class NextRows {
 public:
  struct Rows {
    naive::Row model;    ///< softmax of all logits
    naive::Row sampler;  ///< of the first `common` logits through the sampler
  };

  NextRows(const Model& model, const Ids& prompt, const Draw& sampler, Index common)
      : model_(model), prompt_(prompt), sampler_(sampler), common_(common) {}

  /// Behind the prompt and `tokens`.
  const Rows& operator()(const Ids& tokens) {
    const auto known = rows_.find(tokens);
    if (known != rows_.end()) return known->second;
    Ids read = tokens;
    read.push_back(0);  // its logits are wanted, it is not read
    const auto all = response_logits(model_, sequences({prompt_}), sequences({read})).to_host();
    const naive::Row row(all.end() - model_.vocabulary(), all.end());
    const naive::Row common(row.begin(), row.begin() + common_);
    return rows_[tokens] = {naive::softmax(row), naive::softmax(naive::filter(sampler_, common))};
  }

 private:
  const Model& model_;
  Ids prompt_;
  Draw sampler_;
  Index common_;
  std::map<Ids, Rows> rows_;
};

/// Tiny models of a few tokens, which leave little enough to enumerate.
template <class B>
Decoder<B> decoder_of(Index vocabulary, std::uint64_t seed) {
  auto config = tiny_decoder_config();
  config.vocabulary = vocabulary;
  return tiny_decoder<B>(seed, config);
}
template <class B, class Family>
EncoderDecoder<B, Family> t5_of(Index vocabulary, std::uint64_t seed) {
  auto config = tiny_t5_config();
  config.vocabulary = vocabulary;
  config.decoder_layers = 1;
  return tiny_t5<B, Family>(seed, config);
}

inline Ids longer(Ids tokens, std::size_t token) {
  tokens.push_back(static_cast<std::int32_t>(token));
  return tokens;
}

struct Exact {
  double probability = 0;      ///< under the sampler
  double log_probability = 0;  ///< under the model
};

/// Every response that there is: up to `max_tokens`, 1 ends it.
template <class Rows>
void enumerate(Rows& rows, Index max_tokens, std::map<Ids, Exact>& all, const Ids& tokens = {},
               Exact so_far = {1, 0}) {
  if (!tokens.empty() && (std::ssize(tokens) == max_tokens || tokens.back() == 1)) {
    all[tokens] = so_far;
    return;
  }
  const auto& [model, sampler] = rows(tokens);
  for (std::size_t v = 0; v < sampler.size(); ++v)
    if (sampler[v] > 0)
      enumerate(rows, max_tokens, all, longer(tokens, v),
                {so_far.probability * sampler[v], so_far.log_probability + std::log(model[v])});
}

/// Expected numbers of proposals that a teacher judges and accepts until the end of a response, by the rule
/// of speculative sampling with up to `ahead` proposals.
template <class Teacher, class Draft>
class ExpectedWork {
 public:
  struct Work {
    double judged = 0, accepted = 0;
    void add(double probability, const Work& w) {
      judged += probability * w.judged, accepted += probability * w.accepted;
    }
  };

  ExpectedWork(NextRows<Teacher>& teacher, NextRows<Draft>& draft, Index max_tokens, Index ahead)
      : teacher_(teacher), draft_(draft), max_tokens_(max_tokens), ahead_(ahead) {}

  [[nodiscard]] Work all() { return after_draw({}, teacher_({}).sampler); }

 private:
  NextRows<Teacher>& teacher_;
  NextRows<Draft>& draft_;
  Index max_tokens_, ahead_;

  /// A token with this distribution follows `tokens`, then the draft proposes again.
  Work after_draw(const Ids& tokens, const naive::Row& distribution) {
    Work work;
    for (std::size_t v = 0; v < distribution.size(); ++v) {
      const Ids next = longer(tokens, v);
      if (distribution[v] > 0 && v != 1 && std::ssize(next) < max_tokens_)
        work.add(distribution[v], proposals(next, std::min(ahead_, max_tokens_ - std::ssize(next) - 1)));
    }
    return work;
  }
  /// So many tokens behind `tokens` are proposed.
  Work proposals(const Ids& tokens, Index count) {
    const naive::Row p = teacher_(tokens).sampler;
    if (count == 0) return after_draw(tokens, p);
    const naive::Row q = draft_(tokens).sampler;
    naive::Row replaced(p.size());
    double total = 0;
    for (std::size_t v = 0; v < p.size(); ++v) total += replaced[v] = std::max(0.0, p[v] - q[v]);
    for (double& x : replaced) x /= total;
    Work work{1, 0};
    for (std::size_t v = 0; v < q.size(); ++v) {
      const double accepted = std::min(p[v], q[v]);
      if (accepted > 0) work.add(accepted, {0, 1});
      if (accepted > 0 && v != 1) work.add(accepted, proposals(longer(tokens, v), count - 1));
    }
    if (total > 0) work.add(total, after_draw(tokens, replaced));  // TV(p, q) are rejected
    return work;
  }
};

/// In place of RandomChoices: walks through everything that can happen, one path a run.
class AllChoices {
 public:
  /// Probability of the path.
  [[nodiscard]] double weight() const { return weight_; }
  /// Goes to the next path; false after the last.
  bool next() {
    at_ = 0, weight_ = 1;
    while (!path_.empty() && ++path_.back().chosen == path_.back().possible) path_.pop_back();
    return !path_.empty();
  }
  Index propose(std::size_t, Index, const double* weights, Index n) { return take(weights, n); }
  Index draw(std::size_t, Index, const double* weights, Index n) { return take(weights, n); }
  bool accept(std::size_t, Index, double probability) {
    const double weights[]{1 - probability, probability};
    return take(weights, 2) == 1;
  }

 private:
  struct Step {
    std::size_t chosen, possible;
  };
  std::vector<Step> path_;
  std::size_t at_ = 0;
  double weight_ = 1;

  Index take(const double* weights, Index n) {
    std::vector<Index> possible;
    double total = 0;
    for (Index i = 0; i < n; ++i) {
      total += weights[i];
      if (weights[i] > 0) possible.push_back(i);
    }
    if (at_ == path_.size()) path_.push_back({0, possible.size()});
    const Index i = possible[path_[at_++].chosen];
    weight_ *= weights[i] / total;
    return i;
  }
};

}  // namespace retort::test
