// Methods with a memory: samples that serve several updates, and DistiLLM's buffer.
#include "catch.hpp"
#include "folder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/adaptive_run.hpp"
#include "retort/training/reuse_run.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

struct Killed {};

/// The checkpoint and the metrics of a run of `train(folder, student, teacher, optimizer, evaluate)`, which
/// is killed after some evaluations.
struct Outcome {
  std::string checkpoint;
  std::vector<nlohmann::json> metrics;
};

template <class Train>
Outcome run(const std::filesystem::path& path, int evaluations, Train train) {
  auto student = tiny_decoder<F>(1);
  const auto teacher = tiny_decoder<F>(2);
  auto optimizer = AdamW{.learning_rate = 1e-2}.on(parameters(student));
  RunFolder folder(path);
  const std::function<nlohmann::json()> evaluate = [&]() -> nlohmann::json {
    if (--evaluations < 0) throw Killed{};
    return {{"x", 1}};
  };
  try {
    train(folder, student, teacher, optimizer, evaluate);
  } catch (const Killed&) {
  }
  return {contents(folder.checkpoint_path()), folder.metrics()};
}

template <class Train>
void check_resume(Train train, std::initializer_list<int> kills) {
  const Folder whole("stores_whole_");
  const std::string expected = run(whole / "run", 1 << 20, train).checkpoint;
  for (const int updates : kills) {
    const Folder folder("stores_killed_");
    CHECK(run(folder / "run", updates, train).checkpoint != expected);
    CHECK(run(folder / "run", 1 << 20, train).checkpoint == expected);
  }
}

const RunOptions every_step{.steps = 10, .batch_size = 4, .evaluate_every = 1, .checkpoint_every = 1};

}  // namespace

TEST_CASE(
    "a run that uses its samples again continues bit-identical, and its weights leave 1 only with age") {
  const auto train = [](RunFolder& folder, auto& student, const auto& teacher, auto& optimizer,
                        const auto& evaluate) {
    const Gkd<ReverseKl, FromStudent> recipe{.max_tokens = 6};
    (void)run_reuse(folder, recipe, {.rollouts = 8, .inner_epochs = 2}, student, teacher, optimizer,
                    tiny_batch(11), every_step, {}, evaluate);
  };
  check_resume(train, {1, 3, 5});
  const Folder folder("stores_reuse_");
  const auto metrics = run(folder / "run", 1 << 20, train).metrics;
  REQUIRE(metrics.size() == 10);
  for (const auto& m : metrics) {
    const int age = m["age"];
    CHECK(age == (m["step"].get<int>() - 1) % 4);
    if (age == 0) CHECK(m["mean_weight"].get<double>() == Approx(1).margin(1e-5));
    if (age == 3) CHECK(std::abs(m["effective_size"].get<double>() - 1) > 1e-5);
  }
}

TEST_CASE("phases beyond the bound of staleness are refused") {
  auto student = tiny_decoder<F>(1);
  const auto teacher = tiny_decoder<F>(2);
  auto optimizer = AdamW{}.on(parameters(student));
  const Folder folder("stores_stale_");
  RunFolder run_folder(folder / "run");
  const Gkd<ReverseKl, FromStudent> recipe{};
  CHECK(message_of<ValueError>([&] {
          (void)run_reuse(run_folder, recipe, {.rollouts = 16, .inner_epochs = 3, .staleness = 10}, student,
                          teacher, optimizer, tiny_batch(8), every_step);
        }) ==
        "[reuse] 16 rollouts in batches of 4, 3 times: the last is used 11 updates after it was sampled, at "
        "most 10 are "
        "allowed");
}

TEST_CASE(
    "DistiLLM's share grows when the validation loss has risen, and compares with the last time it grew") {
  const AdaptiveFraction how{.start = 0.2, .increment = 0.4, .tolerance = 0.1};
  AdaptiveState state;
  const auto after = [&](double loss) {
    state.validated(how, loss);
    return state.share;
  };
  CHECK(after(3.0) == Approx(0.2));
  CHECK(after(2.0) == Approx(0.2));  // a fall is no new reference
  CHECK(after(3.05) == Approx(0.2));
  CHECK(after(3.1) == Approx(0.6));
  CHECK(after(3.15) == Approx(0.6));
  CHECK(after(3.3) == Approx(1.0));
  CHECK(after(9.0) == Approx(1.0));  // never above 1
}

TEST_CASE("DistiLLM's source of a step") {
  const AdaptiveState state{.share = 0.5};
  using enum AdaptiveSource;
  CHECK(state.choose(0.6, 0, false) == data);
  CHECK(state.choose(0.5, 0, false) == data);
  CHECK(state.choose(0.4, 0, true) == fresh);
  CHECK(state.choose(0.4, 0.5, false) == fresh);  // the buffer is not full yet
  CHECK(state.choose(0.4, 0.5, true) == buffer);  // 0.4 >= 0.5 * 0.5
  CHECK(state.choose(0.2, 0.5, true) == fresh);
  CHECK(AdaptiveState{}.choose(1e-12, 0, false) == data);
}

TEST_CASE("a run with DistiLLM's buffer continues bit-identical, fills it and draws from it") {
  const auto train = [](RunFolder& folder, auto& student, const auto& teacher, auto& optimizer,
                        const auto& evaluate) {
    const Gkd<SkewReverseKl, FromData> recipe{.max_tokens = 6};
    const Batch validation = tiny_batch(5, 9);
    RunOptions options = every_step;
    options.steps = 24;
    (void)run_adaptive(folder, recipe, {.start = 0.8, .increment = 0.1, .tolerance = 0.01, .capacity = 12},
                       student, teacher, optimizer, tiny_batch(13), validation, 3, options, {}, evaluate);
  };
  check_resume(train, {2, 9, 17});
  const Folder folder("stores_adaptive_");
  std::map<std::string, int> sources;
  int largest = 0;
  for (const auto& m : run(folder / "run", 1 << 20, train).metrics) {
    ++sources[m["source"]];
    largest = std::max(largest, m["buffer"].get<int>());
    CHECK(m.contains("validation_loss") == ((m["step"].get<int>() - 1) % 3 == 0));
  }
  CHECK(largest == 12);
  CHECK(sources["data"] > 0);
  CHECK(sources["fresh"] > 2);
  CHECK(sources["buffer"] > 0);
}
