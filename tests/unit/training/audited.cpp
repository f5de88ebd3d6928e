// A GKD run that measures the divergences and entropies of its steps.
#include "catch.hpp"
#include "folder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/run.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// What a run leaves.
struct Left {
  std::vector<nlohmann::json> metrics;
  std::string checkpoint, config;
};

template <class Recipe, class Model>
Left run(const std::filesystem::path& path, const Recipe& recipe, Model student, const Model& teacher,
         const RunOptions& options) {
  auto optimizer = AdamW{.learning_rate = 1e-2}.on(parameters(student));
  RunFolder folder(path);
  (void)run_training(folder, recipe, student, &teacher, optimizer, tiny_batch(8), options);
  return {folder.metrics(), contents(folder.checkpoint_path()), contents(path / "config.json")};
}

/// Entropy of a model's next tokens, mean over the responses' tokens, by the definition.
template <class Model>
double entropy(const Model& model, const Batch& batch) {
  const auto logits = response_logits(model, batch.prompts, batch.responses).to_host();
  const auto v = static_cast<std::size_t>(model.vocabulary());
  double total = 0;
  for (std::size_t row = 0; row < logits.size(); row += v) {
    double sum = 0;
    for (std::size_t i = 0; i < v; ++i) sum += std::exp(logits[row + i]);
    for (std::size_t i = 0; i < v; ++i)
      total -= std::exp(logits[row + i]) / sum * (logits[row + i] - std::log(sum));
  }
  return total / static_cast<double>(logits.size() / v);
}

}  // namespace

TEMPLATE_TEST_CASE("an audited step reports what the definitions give", "", Decoder<D>,
                   (EncoderDecoder<D, T5>)) {
  const Folder folder("audited_");
  const auto model = [](std::uint64_t seed) {
    if constexpr (std::same_as<TestType, Decoder<D>>)
      return tiny_decoder<D>(seed);
    else
      return tiny_t5<D>(seed);
  };
  const auto student = model(1), teacher = model(2);
  const Batch data = tiny_batch(8);
  for (const int micro_batch : {0, 3}) {
    const auto metrics =
        run(folder / (micro_batch == 0 ? "whole" : "parts"), audited(recipes::supervised_kd()), model(1),
            teacher, {.steps = 1, .batch_size = 8, .micro_batch = micro_batch})
            .metrics.front();
    const auto check = [&](const char* name, double expected) {
      INFO(name);
      const double found = metrics.at(name);
      CHECK(found == Approx(expected).epsilon(1e-12));
    };
    check("forward_kl", metrics.at("mean"));
    check("forward_kl", mean_divergence(ForwardKl{}, student, teacher, data));
    check("reverse_kl", mean_divergence(ReverseKl{}, student, teacher, data));
    check("jsd", mean_divergence(Jsd{}, student, teacher, data));
    check("student_entropy", entropy(student, data));
    check("teacher_entropy", entropy(teacher, data));
    const auto log_q = response_log_probabilities(student, data.prompts, data.responses),
               log_p = response_log_probabilities(teacher, data.prompts, data.responses);
    double k1 = 0, k3 = 0;
    for (std::size_t t = 0; t < log_q.size(); ++t) {
      k1 += log_q[t] - log_p[t];
      k3 += std::exp(log_p[t] - log_q[t]) - 1 - (log_p[t] - log_q[t]);
    }
    check("k1", k1 / static_cast<double>(log_q.size()));
    check("k3", k3 / static_cast<double>(log_q.size()));
  }
}

TEST_CASE("to audit a run changes nothing else: not its weights, not its configuration") {
  const Folder folder("audited_same_");
  auto recipe = recipes::on_policy_kd();
  recipe.max_tokens = 6;
  const RunOptions options{.steps = 5, .batch_size = 4};
  const auto teacher = tiny_decoder<D>(2);
  const Left plain = run(folder / "plain", recipe, tiny_decoder<D>(1), teacher, options);
  const Left measured = run(folder / "audited", audited(recipe, 2), tiny_decoder<D>(1), teacher, options);
  CHECK(measured.checkpoint == plain.checkpoint);
  REQUIRE(measured.metrics.size() == 5);
  for (std::size_t step = 0; step < 5; ++step) {
    CHECK(measured.metrics[step].contains("reverse_kl") == (step % 2 == 0));
    CHECK(measured.metrics[step].at("loss") == plain.metrics[step].at("loss"));
    CHECK(measured.metrics[step].at("sampling_seconds").get<double>() > 0);
    CHECK_FALSE(plain.metrics[step].contains("reverse_kl"));
  }
  // A run that was begun with audits goes on without, and the other way round.
  CHECK(run(folder / "audited", recipe, tiny_decoder<D>(1), teacher, options).checkpoint == plain.checkpoint);
  CHECK(run(folder / "plain", audited(recipe, 0), tiny_decoder<D>(1), teacher, options).checkpoint ==
        plain.checkpoint);
}

TEST_CASE("a cross-entropy has nothing to audit, and a negative period is refused") {
  const Folder folder("audited_none_");
  const auto teacher = tiny_decoder<D>(2);
  const auto left = run(folder / "sft", audited(recipes::sft()), tiny_decoder<D>(1), teacher,
                        {.steps = 1, .batch_size = 8});
  CHECK_FALSE(left.metrics.front().contains("reverse_kl"));
  CHECK_FALSE(left.metrics.front().contains("sampling_seconds"));
  CHECK(message_of<ValueError>([&] {
          (void)run(folder / "negative", audited(recipes::sft(), -1), tiny_decoder<D>(1), teacher,
                    {.steps = 1});
        }).starts_with("[gkd] audit_every, in steps, must not be negative"));
}
