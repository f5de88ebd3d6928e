// What a run folder keeps a run from: other data, another teacher, weights that are not numbers.
#include "retort/training/run.hpp"

#include <csignal>

#include "catch.hpp"
#include "folder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

/// A run of four steps; the message of what it throws.
template <class Policy = AdamW>
std::string run(const std::filesystem::path& path, const Decoder<F>& teacher, const Batch& data,
                Policy policy = {},
                const RunOptions& options = {
                    .steps = 4, .batch_size = 4, .clip_norm = HUGE_VAL, .checkpoint_every = 1}) {
  auto student = tiny_decoder<F>(1);
  auto optimizer = policy.on(parameters(student));
  return message_of<Error>([&] {
    RunFolder folder(path);
    (void)run_training(folder, recipes::supervised_kd(), student, &teacher, optimizer, data, options);
  });
}

}  // namespace

TEST_CASE("a run does not continue with another teacher or other data") {
  const Folder folder("run_inputs_");
  const auto path = folder / "run";
  const auto teacher = tiny_decoder<F>(2), other = tiny_decoder<F>(3);
  Batch data = tiny_batch(8);
  REQUIRE(run(path, teacher, data) == "no error");
  CHECK(run(path, teacher, data) == "no error");
  const std::string before = contents(path / "checkpoint.safetensors");
  CHECK(run(path, other, data).find("belongs to a run of another configuration: inputs.teacher is ") !=
        std::string::npos);
  data.responses.tokens[3] ^= 1;
  CHECK(run(path, teacher, data).find("belongs to a run of another configuration: inputs.data is ") !=
        std::string::npos);
  CHECK(contents(path / "checkpoint.safetensors") == before);
}

TEST_CASE("a run that continues has its configuration's file again, whatever happened to it") {
  const Folder folder("run_config_");
  const auto path = folder / "run";
  const auto teacher = tiny_decoder<F>(2);
  REQUIRE(run(path, teacher, tiny_batch(8)) == "no error");
  const std::string before = contents(path / "config.json");
  write_plainly(path / "config.json", before.substr(0, before.size() / 2));
  CHECK(run(path, teacher, tiny_batch(8)) == "no error");
  CHECK(contents(path / "config.json") == before);
}

TEST_CASE("numbers that are not finite never reach a checkpoint, and the last good one stays") {
  const Folder folder("run_finite_");
  const auto teacher = tiny_decoder<F>(2);
  // The first update overflows: there is no good checkpoint.
  const std::string at_once = run(folder / "at_once", teacher, tiny_batch(8), Sgd{.learning_rate = 1e39});
  CHECK(at_once.starts_with("[run] the update of step 1 left weights of "));
  CHECK_FALSE(std::filesystem::exists(folder.path / "at_once" / "checkpoint.safetensors"));

  // The first update leaves huge weights, with which the second step's loss is not finite.
  const auto path = folder / "later";
  const std::string later = run(path, teacher, tiny_batch(8), Sgd{.learning_rate = 1e25});
  INFO(later);
  CHECK(later.find("not finite") != std::string::npos);
  CHECK_FALSE(later.starts_with("[run]"));
  auto student = tiny_decoder<F>(1);
  load_checkpoint_weights(path / "checkpoint.safetensors", parameters(student));
  CHECK(std::ranges::all_of(weights(parameters(student)), [](float w) { return std::isfinite(w); }));
  CHECK(RunFolder(path).metrics().size() == 1);
}

TEST_CASE("a stop that is asked for during the last step's evaluation is not lost") {
  const Folder folder("run_stop_");
  const auto stops_in_evaluation = [&](Index at) {
    auto student = tiny_decoder<F>(1);
    auto optimizer = AdamW{}.on(parameters(student));
    RunFolder run_folder(folder / "run");
    Index evaluations = 0;
    return run_training(run_folder, recipes::sft(), student, static_cast<Decoder<F>*>(nullptr), optimizer,
                        tiny_batch(8), {.steps = 3, .batch_size = 4, .evaluate_every = 1}, {}, [&] {
                          if (++evaluations == at) std::raise(SIGTERM);
                          return nlohmann::json::object();
                        });
  };
  const RunResult early = stops_in_evaluation(2);
  CHECK((early.stopped && early.steps == 2));
  const RunResult late = stops_in_evaluation(1);
  CHECK((late.stopped && late.steps == 3));
  const RunResult complete = stops_in_evaluation(0);
  CHECK((!complete.stopped && complete.steps == 3));
}

TEST_CASE("clearing a run folder removes the run's files and no others") {
  const Folder folder("run_clear_");
  const auto path = folder / "run";
  REQUIRE(run(path, tiny_decoder<F>(2), tiny_batch(8)) == "no error");
  write_plainly(path / "mine.txt", "x");
  RunFolder run_folder(path);
  run_folder.write_samples(3, "text");
  write_plainly(path / "samples" / "mine.txt", "x");
  run_folder.clear();
  CHECK_FALSE(run_folder.has_checkpoint());
  CHECK_FALSE(std::filesystem::exists(run_folder.metrics_path()));
  CHECK_FALSE(std::filesystem::exists(run_folder.config_path()));
  CHECK_FALSE(std::filesystem::exists(run_folder.samples_path(3)));
  CHECK(std::filesystem::exists(path / "mine.txt"));
  CHECK(std::filesystem::exists(path / "samples" / "mine.txt"));
}
