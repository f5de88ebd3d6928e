#include "generate/model.hpp"
#include "retort/generate/any_sampler.hpp"
#include "retort/generate/beam_search.hpp"
#include "retort/generate/speculative.hpp"
#include "support/device.hpp"

namespace generator {

namespace {

using retort::BeamStop, retort::GnmtPenalty, retort::PowerPenalty, retort::Sequences;

retort::AnySampler sampler_of(const Settings& s) {
  if (!s.draws()) return retort::Greedy{};
  return retort::Filters{retort::Temperature{s.temperature.value_or(1)}, retort::TopK{s.top_k.value_or(0)},
                         retort::TopP{s.top_p.value_or(1)}};
}

std::function<double(Index)> penalty_of(const Settings& s) {
  const double strength = s.length_penalty.value_or(1);
  if (s.penalty.value_or("power") == "gnmt") return GnmtPenalty{strength};
  return PowerPenalty{strength};
}

Sequences sequences_of(const std::vector<Request>& requests) {
  Sequences out;
  for (const Request& r : requests) out.push_back(r.tokens);
  return out;
}

}  // namespace

template <retort::Backend B>
EngineOn<B>::EngineOn(retort::AnyModel<B> model, std::unique_ptr<EngineOn> draft)
    : model_(std::move(model)),
      parameters_(retort::parameter_count(retort::parameters(model_))),
      draft_(std::move(draft)) {}

template <retort::Backend B>
Responses EngineOn<B>::respond(const std::vector<Request>& requests, const Settings& s,
                               const std::vector<std::int32_t>& end_tokens, const OnToken& on_token) const {
  constexpr std::int32_t none = -1;
  Responses out;
  auto& responses = out.of;
  responses.resize(requests.size());
  const auto is_end = [&](std::int32_t token) {
    return std::ranges::find(end_tokens, token) != end_tokens.end();
  };
  if (s.searches()) {
    const auto found = retort::beam_search(
        model_, sequences_of(requests),
        {.beams = *s.beams,
         .max_tokens = s.max_tokens,
         .end_token = none,
         .stop = s.beam_stop.value_or("exact") == "exact" ? BeamStop::exact : BeamStop::current,
         .more_end_tokens = end_tokens},
        penalty_of(s));
    for (std::size_t i = 0; i < found.size(); ++i)
      for (const auto& h : found[i])
        if (std::ssize(responses[i]) < s.samples)
          responses[i].push_back({h.tokens, h.log_probabilities, h.score, is_end(h.tokens.back())});
    return out;
  }
  std::vector<std::uint64_t> streams;
  for (const Request& r : requests) streams.push_back(r.stream);
  const Sequences prompts = sequences_of(requests);
  const auto sampler = sampler_of(s);
  const retort::RandomKey key{s.seed};
  const auto observe = [&](std::size_t, const retort::DrawnToken& drawn) {
    if (on_token) on_token(drawn.token);
  };
  retort::Generated generated;
  if (draft_) {
    auto speculated = retort::speculative_generate(model_, draft_->model_, prompts, streams, sampler,
                                                   {.max_tokens = s.max_tokens,
                                                    .end_token = none,
                                                    .key = key,
                                                    .more_end_tokens = end_tokens,
                                                    .draft_tokens = s.draft_tokens.value_or(4)},
                                                   observe);
    generated = std::move(speculated.samples);
    out.judged = speculated.judged, out.accepted = speculated.accepted;
    out.passes = speculated.sequence_passes;
  } else {
    generated = retort::generate(
        model_, prompts, streams, sampler,
        {.max_tokens = s.max_tokens, .end_token = none, .key = key, .more_end_tokens = end_tokens}, observe);
  }
  auto p = generated.log_probabilities.begin();
  for (int i = 0; i < generated.responses.size(); ++i) {
    const auto tokens = generated.responses[i];
    const auto end = p + std::ssize(tokens);
    const auto at = static_cast<std::size_t>(i);
    responses[at].push_back({{tokens.begin(), tokens.end()}, {p, end}, 0, generated.finished[at]});
    p = end;
  }
  return out;
}

template <retort::Backend B>
std::string EngineOn<B>::family() const {
  return model_.family();
}
template <retort::Backend B>
Index EngineOn<B>::vocabulary() const {
  return model_.vocabulary();
}

template <retort::Backend B>
bool EngineOn<B>::is_decoder() const {
  return model_.visit(
      []<class M>(const M&) { return std::same_as<typename M::Config, retort::DecoderConfig>; });
}

template <retort::Backend B>
std::optional<Index> EngineOn<B>::positions() const {
  return model_.positions();
}

template class EngineOn<support::CompiledBackend>;

}  // namespace generator
