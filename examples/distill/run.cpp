#include "distill/run.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "retort/training/run.hpp"
#include "support/device.hpp"
#include "support/program.hpp"

namespace distill {

namespace {

namespace fs = std::filesystem;
using retort::Batch, retort::Index;

constexpr retort::RandomKey evaluation_key{20250707, 1};
constexpr int samples_shown = 5;

/// Responses of a model: samples, or greedy ones.
template <retort::Backend B>
retort::Sequences responses(const Task<B>& t, const Model<B>& model, const Batch& prompts, bool greedy) {
  auto draw = t.recipe.sampler;
  std::get<retort::Temperature>(draw.filters).value = 1;
  std::get<retort::TopK>(draw.filters).k = greedy ? 1 : 0;
  return retort::generate(model, prompts.prompts, prompts.ids, draw, t.recipe.generation(evaluation_key))
      .responses;
}

/// {"reverse_kl": ..., "cross_entropy": ...}, a few examples at a time, with standard errors over these
/// groups.
template <retort::Backend B>
nlohmann::json evaluate(const Task<B>& t) {
  struct Group {
    double sum = 0, tokens = 0;
  };
  std::vector<Group> groups[2];
  const auto add = [&](int which, const retort::AnyObjective& objective, const Batch& batch) {
    retort::Context<B> silent;
    const auto loss = retort::objective_loss(objective, silent, t.student, &t.teacher, batch,
                                             retort::Normaliser::of(batch.responses));
    const auto tokens = static_cast<double>(loss.tokens);
    groups[which].push_back({loss.mean * tokens, tokens});
  };
  const int size = t.settings.micro_batch > 0 ? t.settings.micro_batch : t.settings.batch_size;
  for (int first = 0; first < t.held_out.size(); first += size) {
    const Batch part = t.held_out.slice(first, std::min(t.held_out.size(), first + size));
    Batch sampled = part;
    sampled.responses = responses(t, t.student, part, false);
    add(0, retort::ReverseKl{}, sampled);
    if (t.has_references) add(1, retort::CrossEntropy{}, part);
  }
  nlohmann::json result;
  const auto note = [&](const std::string& name, const std::vector<Group>& all) {
    Group total;
    for (const Group& g : all) total.sum += g.sum, total.tokens += g.tokens;
    const double mean = total.sum / total.tokens, n = static_cast<double>(all.size());
    result[name] = mean;
    if (all.size() < 2) return;
    double squares = 0;  // of a ratio of two sums over groups
    for (const Group& g : all) squares += (g.sum - mean * g.tokens) * (g.sum - mean * g.tokens);
    result[name + "_standard_error"] = std::sqrt(squares * n / (n - 1)) / total.tokens;
  };
  note("reverse_kl", groups[0]);
  if (t.has_references) note("cross_entropy", groups[1]);
  return result;
}

/// What both models say to the first held-out prompts.
template <retort::Backend B>
void write_samples(const Task<B>& t, const retort::RunFolder& folder, Index step) {
  const Batch some = t.held_out.slice(0, std::min(samples_shown, t.held_out.size()));
  const auto teacher = responses(t, t.teacher, some, true), greedy = responses(t, t.student, some, true),
             sampled = responses(t, t.student, some, false);
  std::string text;
  for (int i = 0; i < some.size(); ++i) {
    const auto show = [&](const char* who, std::span<const std::int32_t> tokens) {
      text += fmt::format("--- {}\n{}\n", who, t.tokenizer.decode(tokens));
    };
    text += fmt::format("=== {}\n", i + 1);
    show("prompt", some.prompts[i]);
    if (t.has_references) show("held-out response", some.responses[i]);
    show("teacher, greedy", teacher[i]);
    show("student, greedy", greedy[i]);
    show("student, sampled", sampled[i]);
  }
  folder.write_samples(step, text);
}

/// The evaluation of the untrained student: computed once, at the beginning of a run.
template <retort::Backend B>
nlohmann::json evaluation_before(const Task<B>& t, const retort::RunFolder& folder) {
  const auto path = folder.path() / "before.json";
  if (folder.has_checkpoint()) {
    std::ifstream file(path);
    auto known = nlohmann::json::parse(file, nullptr, false);
    if (known.is_object() && known.contains("reverse_kl") && known["reverse_kl"].is_number()) return known;
    return {};
  }
  auto result = evaluate(t);
  write_samples(t, folder, 0);
  retort::write_file(path, result.dump(2) + "\n");
  return result;
}

CurvePoint point_of(const nlohmann::json& evaluation, Index step) {
  CurvePoint point{step, evaluation.at("reverse_kl").get<double>(), {}};
  if (evaluation.contains("cross_entropy")) point.cross_entropy = evaluation["cross_entropy"].get<double>();
  return point;
}

std::string described(const nlohmann::json& evaluation) {
  std::string text = fmt::format("reverse KL {:.4f}", evaluation["reverse_kl"].get<double>());
  if (evaluation.contains("reverse_kl_standard_error"))
    text += fmt::format(" (standard error {:.4f})", evaluation["reverse_kl_standard_error"].get<double>());
  if (evaluation.contains("cross_entropy"))
    text += fmt::format(", cross-entropy {:.4f}", evaluation["cross_entropy"].get<double>());
  return text + " nats a token";
}

}  // namespace

template <retort::Backend B>
Outcome run(Task<B>& t) {
  const Settings& s = t.settings;
  retort::RunFolder folder{fs::path(s.out)};
  const retort::RunOptions options{.steps = s.steps,
                                   .batch_size = s.batch_size,
                                   .micro_batch = s.micro_batch,
                                   .clip_norm = s.clip_norm,
                                   .schedule = retort::parse_schedule(s.schedule, s.warm_up),
                                   .seed = s.seed,
                                   .evaluate_every = s.evaluate_every,
                                   .checkpoint_every = s.evaluate_every,
                                   .label = "distil"};
  auto optimizer = support::optimizer_of(s.optimizer, s.rate).on(retort::parameters(t.student));
  if (s.fresh) {
    folder.clear();
    fs::remove(folder.path() / "before.json");
  }
  Outcome outcome;
  const auto before = evaluation_before(t, folder);
  if (before.is_object()) {
    fmt::print("held out, before: {}\n", described(before));
    std::fflush(stdout);
    outcome.curve.push_back(point_of(before, 0));
  }
  const auto evaluation = [&] {
    auto found = evaluate(t);
    fmt::print("held out: {}\n", described(found));
    std::fflush(stdout);
    return found;
  };
  const auto result = support::with_advice<retort::OtherRunError>(support::other_run_advice, [&] {
    return retort::run_training(folder, retort::audited(t.recipe, s.audit_every), t.student, &t.teacher,
                                optimizer, t.train, options, t.setting, evaluation);
  });
  outcome.stopped = result.stopped;
  outcome.seconds = result.seconds;
  if (result.stopped) return outcome;
  for (const auto& evaluation : result.evaluations)
    outcome.curve.push_back(point_of(evaluation, evaluation.at("step").template get<Index>()));
  write_samples(t, folder, s.steps);
  return outcome;
}

template Outcome run(Task<support::CompiledBackend>&);

}  // namespace distill
