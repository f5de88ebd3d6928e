#include "distill/run.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "retort/training/offline_run.hpp"
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

/// What an evaluation measures first, beside the cross-entropy: without the teacher there is no one to say
/// how probable the student's samples are.
template <retort::Backend B>
const char* main_measure(const Task<B>& t) {
  return t.teacher != nullptr ? "reverse_kl" : "divergence";
}

/// Losses of groups of examples, and their mean per token with its standard error over the groups.
class Measure {
 public:
  template <retort::Backend B>
  void add(const retort::Loss<B>& loss) {
    const auto tokens = static_cast<double>(loss.tokens);
    groups_.push_back({loss.mean * tokens, tokens});
  }
  void note(nlohmann::json& result, const std::string& name) const {
    Group total;
    for (const Group& g : groups_) total.sum += g.sum, total.tokens += g.tokens;
    const double mean = total.sum / total.tokens, n = static_cast<double>(groups_.size());
    result[name] = mean;
    if (groups_.size() < 2) return;
    double squares = 0;  // of a ratio of two sums over groups
    for (const Group& g : groups_) squares += (g.sum - mean * g.tokens) * (g.sum - mean * g.tokens);
    result[name + "_standard_error"] = std::sqrt(squares * n / (n - 1)) / total.tokens;
  }

 private:
  struct Group {
    double sum = 0, tokens = 0;
  };
  std::vector<Group> groups_;
};

/// {"reverse_kl": ..., "cross_entropy": ...}, or from a teacher's file {"divergence": ..., ...}, a few
/// examples at a time. The divergence is the recipe's; one that has none is shown the forward KL.
template <retort::Backend B>
nlohmann::json evaluate(const Task<B>& t) {
  Measure divergence, cross_entropy;
  retort::Context<B> silent;
  const auto loss = [&](const retort::AnyObjective& objective, const Batch& batch) {
    return retort::objective_loss(objective, silent, t.student, t.teacher, batch,
                                  retort::Normaliser::of(batch.responses));
  };
  const auto file_loss = [&](const Batch& batch) {
    const bool has_none = std::holds_alternative<retort::CrossEntropy>(t.recipe.divergence);
    return retort::sparse_loss(has_none ? retort::ForwardKl{} : t.recipe.divergence, silent, t.student, batch,
                               t.teacher_file->targets(batch), retort::Normaliser::of(batch.responses),
                               {.temperature = t.teacher_file->info().temperature});
  };
  const int size = t.settings.micro_batch > 0 ? t.settings.micro_batch : t.settings.batch_size;
  for (int first = 0; first < t.held_out.size(); first += size) {
    const Batch part = t.held_out.slice(first, std::min(t.held_out.size(), first + size));
    if (t.teacher != nullptr) {
      Batch sampled = part;
      sampled.responses = responses(t, t.student, part, false);
      divergence.add(loss(retort::ReverseKl{}, sampled));
    } else {
      divergence.add(file_loss(part));
    }
    if (t.has_references) cross_entropy.add(loss(retort::CrossEntropy{}, part));
  }
  nlohmann::json result;
  divergence.note(result, main_measure(t));
  if (t.has_references) cross_entropy.note(result, "cross_entropy");
  return result;
}

/// What the student, and the teacher if it is there, say to the first held-out prompts.
template <retort::Backend B>
void write_samples(const Task<B>& t, const retort::RunFolder& folder, Index step) {
  const Batch some = t.held_out.slice(0, std::min(samples_shown, t.held_out.size()));
  const auto greedy = responses(t, t.student, some, true), sampled = responses(t, t.student, some, false);
  retort::Sequences teacher;
  if (t.teacher != nullptr) teacher = responses(t, *t.teacher, some, true);
  std::string text;
  for (int i = 0; i < some.size(); ++i) {
    const auto show = [&](const char* who, std::span<const std::int32_t> tokens) {
      text += fmt::format("--- {}\n{}\n", who, t.tokenizer.decode(tokens));
    };
    text += fmt::format("=== {}\n", i + 1);
    show("prompt", some.prompts[i]);
    if (t.has_references) show("held-out response", some.responses[i]);
    if (t.teacher != nullptr) show("teacher, greedy", teacher[i]);
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
    const auto* measure = main_measure(t);
    if (known.is_object() && known.contains(measure) && known[measure].is_number()) return known;
    return {};
  }
  auto result = evaluate(t);
  write_samples(t, folder, 0);
  retort::write_file(path, result.dump(2) + "\n");
  return result;
}

std::optional<double> number(const nlohmann::json& evaluation, const char* name) {
  const auto at = evaluation.find(name);
  return at == evaluation.end() ? std::nullopt : std::optional(at->get<double>());
}

CurvePoint point_of(const nlohmann::json& e, Index step) {
  return {step, number(e, "reverse_kl"), number(e, "divergence"), number(e, "cross_entropy")};
}

std::string described(const nlohmann::json& evaluation) {
  const bool of_samples = evaluation.contains("reverse_kl");
  const std::string measure = of_samples ? "reverse_kl" : "divergence";
  std::string text =
      fmt::format("{} {:.4f}", of_samples ? "reverse KL" : "divergence", evaluation[measure].get<double>());
  if (const auto error = number(evaluation, (measure + "_standard_error").c_str()))
    text += fmt::format(" (standard error {:.4f})", *error);
  if (const auto cross_entropy = number(evaluation, "cross_entropy"))
    text += fmt::format(", cross-entropy {:.4f}", *cross_entropy);
  return text + " nats a token";
}

/// Trains with the teacher or from its file.
template <retort::Backend B, class Optimizer>
retort::RunResult train(Task<B>& t, retort::RunFolder& folder, Optimizer& optimizer,
                        const retort::RunOptions& options,
                        const std::function<nlohmann::json()>& evaluation) {
  if (t.teacher_file != nullptr)
    return retort::run_offline(folder, from_data(t.recipe), t.student, *t.teacher_file, optimizer, t.train,
                               options, t.setting, evaluation);
  return retort::run_training(folder, retort::audited(t.recipe, t.settings.audit_every), t.student, t.teacher,
                              optimizer, t.train, options, t.setting, evaluation);
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
  const auto result = support::with_advice<retort::OtherRunError>(
      support::other_run_advice, [&] { return train(t, folder, optimizer, options, evaluation); });
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
