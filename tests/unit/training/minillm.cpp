#include "retort/training/minillm_run.hpp"

#include <map>

#include "catch.hpp"
#include "folder.hpp"
#include "retort/optim/adamw.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;
using F = Cpu<float>;

namespace {

/// Sampled responses of a tiny student and its teacher.
template <class Model>
Rollouts tiny_rollouts(const Model& student, const Model& teacher, int size, double alpha = 0.3) {
  return roll_out(student, teacher, tiny_batch(size), TeacherMixed<>{.alpha = alpha},
                  {.max_tokens = 6, .end_token = 1, .key = {5, 6}});
}

/// The gradient that an update would use, and its report.
template <class Model>
std::pair<MiniLlmReport, std::vector<double>> update(const MiniLlm<>& how, Model& student,
                                                     const Model& teacher, const Rollouts& rollouts,
                                                     const Batch* corpus, int micro_batch) {
  std::vector<double> gradient;
  Optimizer<Recorder, typename Model::Backend> recorder({&gradient}, parameters(student));
  const auto report = minillm_step(how, student, teacher, recorder, rollouts, corpus, {3, 4},
                                   {.clip_norm = HUGE_VAL, .micro_batch = micro_batch});
  return {report, gradient};
}

/// What a kill looks like from inside.
struct Killed {};

/// A teacher that dies after so many tokens.
struct MortalTeacher {
  using Backend = F;
  const Decoder<F>* model;
  int* life;

  Index vocabulary() const { return model->vocabulary(); }
  Head<F> head() const { return model->head(); }
  Variable<F> hidden(Context<F>& context, const Sequences& prompts, const Sequences& responses) const {
    return model->hidden(context, prompts, responses);
  }
  DecodeState<F> start(const Sequences& prompts, Index room) const { return model->start(prompts, room); }
  void advance(DecodeState<F>& state, std::span<const std::int32_t> tokens) const {
    if (--*life < 0) throw Killed{};
    model->advance(state, tokens);
  }
  template <class Visit>
  void each_parameter(Visit&&) {}
};

MiniLlm<> short_setting() {
  MiniLlm<> how = minillm::reference();
  how.max_tokens = 6;
  return how;
}

}  // namespace

TEST_CASE("an update of MiniLLM is the same in micro-batches of any size") {
  auto student = tiny_decoder<D>(1);
  const auto teacher = tiny_decoder<D>(2);
  const Rollouts rollouts = tiny_rollouts(student, teacher, 9);
  const Batch corpus = tiny_batch(7, 3);
  for (const MiniLlm<>& how : {minillm::paper(), minillm::reference()}) {
    const auto [report, gradient] = update(how, student, teacher, rollouts, &corpus, 0);
    for (const int size : {1, 2, 4}) {
      const auto [part, same] = update(how, student, teacher, rollouts, &corpus, size);
      CHECK(relative_difference(same, gradient) <= 1e-11);
      CHECK(part.loss == Approx(report.loss).epsilon(1e-12));
      CHECK(part.policy == Approx(report.policy).epsilon(1e-12));
      CHECK(part.single_step == Approx(report.single_step).epsilon(1e-12));
      CHECK(part.corpus == Approx(report.corpus).epsilon(1e-12));
      CHECK(part.audit.jsd == Approx(report.audit.jsd).epsilon(1e-12));
      CHECK(part.audit.clipped == Approx(report.audit.clipped));
    }
    CHECK(report.loss == Approx(report.policy + report.single_step + report.corpus).epsilon(1e-12));
  }
}

TEST_CASE("the corpus loss is the cross-entropy, or half of it and half the teacher's") {
  auto student = tiny_t5<D>(1);
  const auto teacher = tiny_t5<D>(2);
  const Rollouts rollouts = tiny_rollouts(student, teacher, 4);
  const Batch corpus = tiny_batch(5, 3);
  const Normaliser total = Normaliser::of(corpus.responses);
  const ObjectiveOptions per_token{.reduction = Reduction::per_token};
  MiniLlm<> how = minillm::reference();
  how.corpus_weight = 0.7;
  const auto of = [&](CorpusLoss corpus_kind) {
    how.corpus = corpus_kind;
    return update(how, student, teacher, rollouts, &corpus, 0);
  };
  const auto none = of(CorpusLoss::none), plain = of(CorpusLoss::plain), mixed = of(CorpusLoss::with_teacher);
  const auto gradient_of = [&](const auto& objective) {
    for (auto* p : parameters(student)) p->clear_grad();
    Tape<D> tape;
    Context<D> context{.tape = &tape};
    const auto loss = objective_loss(objective, context, student, &teacher, corpus, total, per_token);
    tape.backward(loss.value);
    return gradients<D>(parameters(student));
  };
  const auto cross_entropy = gradient_of(CrossEntropy{}), forward = gradient_of(ForwardKl{});
  std::vector<double> expected_plain, expected_mixed;
  for (std::size_t k = 0; k < forward.size(); ++k) {
    expected_plain.push_back(none.second[k] + 0.7 * cross_entropy[k]);
    expected_mixed.push_back(none.second[k] + 0.35 * cross_entropy[k] + 0.35 * forward[k]);
  }
  CHECK(relative_difference(plain.second, expected_plain) <= 1e-12);
  CHECK(relative_difference(mixed.second, expected_mixed) <= 1e-12);
  CHECK(none.first.corpus == 0);
  Context<D> silent;
  const double by_definition =
      objective_loss(CrossEntropy{}, silent, student, &teacher, corpus, total, per_token).mean;
  CHECK(plain.first.corpus == Approx(0.7 * by_definition).epsilon(1e-12));
}

TEST_CASE("the audit of an update is what the definitions give") {
  auto student = tiny_decoder<D>(1);
  const auto teacher = tiny_decoder<D>(2);
  const Rollouts rollouts = tiny_rollouts(student, teacher, 8);
  const auto [report, gradient] = update(minillm::paper(), student, teacher, rollouts, nullptr, 3);
  const auto p = response_logits(teacher, rollouts.samples.prompts, rollouts.samples.responses).to_host();
  const auto q = response_logits(student, rollouts.samples.prompts, rollouts.samples.responses).to_host();
  const auto tokens = static_cast<std::size_t>(rollouts.samples.responses.total());
  std::map<std::string, double> mean;
  double weight = 0, weight_squared = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    double sum_p = 0, sum_q = 0;
    for (std::size_t v = 0; v < 11; ++v) sum_p += std::exp(p[t * 11 + v]), sum_q += std::exp(q[t * 11 + v]);
    for (std::size_t v = 0; v < 11; ++v) {
      const double a = std::exp(p[t * 11 + v]) / sum_p, b = std::exp(q[t * 11 + v]) / sum_q, m = (a + b) / 2;
      mean["forward_kl"] += a * std::log(a / b), mean["reverse_kl"] += b * std::log(b / a);
      mean["jsd"] += (a * std::log(a / m) + b * std::log(b / m)) / 2;
      mean["student_entropy"] -= b * std::log(b), mean["teacher_entropy"] -= a * std::log(a);
    }
    const double d = rollouts.log_student[t] - rollouts.log_teacher[t];
    mean["k1"] += d, mean["k3"] += std::exp(-d) - 1 + d;
    const double w = std::exp(rollouts.log_student[t] - rollouts.log_draw[t]);
    mean["mean_weight"] += w;
    weight += w, weight_squared += w * w;
  }
  report.audit.each([&](const std::string& name, double value) {
    if (!mean.contains(name)) return;
    CAPTURE(name);
    CHECK(value == Approx(mean[name] / static_cast<double>(tokens)).epsilon(1e-9));
  });
  CHECK(report.audit.effective_size ==
        Approx(weight * weight / weight_squared / static_cast<double>(tokens)).epsilon(1e-12));
  CHECK(report.audit.clipped == 0);
  CHECK(report.audit.tokens == static_cast<Index>(tokens));
}

TEST_CASE("rollouts without a token give no loss and no gradient, not NaN") {
  auto student = tiny_decoder<D>(1);
  const auto teacher = tiny_decoder<D>(2);
  Rollouts empty;
  empty.samples.push_back(Ids{1, 2}, Ids{}, 0);
  for (const MiniLlm<>& how : {minillm::paper(), minillm::reference()}) {
    const auto [report, gradient] = update(how, student, teacher, empty, nullptr, 0);
    CHECK(report.loss == 0);
    CHECK(report.gradient_norm == 0);
    CHECK(std::ranges::all_of(gradient, [](double g) { return g == 0; }));
  }
}

TEST_CASE("a MiniLLM run that was killed, while it sampled or between updates, continues bit-identical") {
  const auto teacher_model = tiny_decoder<F>(2);
  const Batch prompts = tiny_batch(12), corpus = tiny_batch(9, 5);
  const MiniLlmPhases phases{.rollouts = 8, .inner_epochs = 2, .sampling_batch = 3};
  const RunOptions options{.steps = 11, .batch_size = 4, .evaluate_every = 1, .checkpoint_every = 1};
  // Runs until the end, or until the teacher or the evaluation dies.
  const auto run = [&](const std::filesystem::path& path, int teacher_life, int evaluations) {
    auto student = tiny_decoder<F>(1);
    auto optimizer = AdamW{.learning_rate = 1e-2}.on(parameters(student));
    RunFolder folder(path);
    const MortalTeacher teacher{&teacher_model, &teacher_life};
    try {
      (void)run_minillm(folder, short_setting(), phases, student, teacher, optimizer, prompts, &corpus,
                        options, {}, [&]() -> nlohmann::json {
                          if (--evaluations < 0) throw Killed{};
                          return {{"x", 1}};
                        });
    } catch (const Killed&) {
    }
    return contents(folder.checkpoint_path());
  };
  constexpr int immortal = 1 << 20;
  const Folder whole("minillm_whole_");
  const std::string expected = run(whole / "run", immortal, immortal);
  for (const int updates : {1, 2, 3, 4, 6, 9}) {  // a phase has 4
    const Folder folder("minillm_killed_");
    CHECK(run(folder / "run", immortal, updates) != expected);
    CHECK(run(folder / "run", immortal, immortal) == expected);
  }
  // The teacher advances about 15 tokens a phase: this one dies in the sampling of the second.
  const Folder folder("minillm_sampling_");
  CHECK(run(folder / "run", 20, immortal) != expected);
  CHECK(run(folder / "run", immortal, immortal) == expected);
}

TEST_CASE("phases that do not fit are refused") {
  auto student = tiny_decoder<F>(1);
  const auto teacher = tiny_decoder<F>(2);
  auto optimizer = AdamW{}.on(parameters(student));
  const Folder folder("minillm_refused_");
  RunFolder run(folder / "run");
  const auto refuse = [&](MiniLlm<> how, MiniLlmPhases phases) {
    return message_of<ValueError>([&] {
      (void)run_minillm(run, how, phases, student, teacher, optimizer, tiny_batch(4), nullptr,
                        {.batch_size = 4});
    });
  };
  CHECK(refuse({}, {.rollouts = 6}) == "[minillm] 6 rollouts are no multiple of the batch size 4");
  CHECK(refuse({}, {.rollouts = 0}) ==
        "[minillm] 0 rollouts, 4 inner epochs, 64 sampled together: expected at least 1 of each");
  const std::string large = refuse({.max_tokens = 1 << 20}, {.rollouts = 1 << 26});
  CHECK(large.starts_with(
      "[minillm] 67108864 rollouts of up to 4 prompt tokens (4 bytes each) and 1048576 response "
      "tokens (28 bytes each) are 1970325.9 GB; this machine has "));
  CHECK(refuse({.sampling = {.alpha = -1}}, {})
            .starts_with("[minillm] alpha, the teacher's share, must lie in [0, 1]; given minillm(sampling "
                         "teacher_mixed(alpha -1, "));
}
