#include "retort/training/rl_run.hpp"

#include <unistd.h>

#include "catch.hpp"
#include "folder.hpp"
#include "retort/io/child_reward.hpp"
#include "retort/optim/adamw.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

/// More 3s, more reward.
std::vector<double> share_of_threes(const Batch& samples) {
  std::vector<double> out;
  for (int i = 0; i < samples.size(); ++i)
    out.push_back(static_cast<double>(std::ranges::count(samples.responses[i], 3)) /
                  std::max(1, samples.responses.length(i)));
  return out;
}

RlGkd<> setting(double alpha) {
  return {.alpha = alpha, .max_tokens = 6};
}

struct Run {
  nlohmann::json last;
  std::vector<nlohmann::json> metrics;
  std::string checkpoint;
};

/// A run of `steps` on tiny models; continues if the folder has a checkpoint.
Run run(const std::filesystem::path& path, const RlGkd<>& how, const Reward& reward, Index steps,
        const std::function<nlohmann::json()>& evaluate = {}) {
  auto student = tiny_decoder<F>(1);
  const auto teacher = tiny_decoder<F>(2);
  auto optimizer = AdamW{.learning_rate = 2e-2}.on(parameters(student));
  RunFolder folder(path);
  (void)run_rl_gkd(folder, how, reward, student, &teacher, optimizer, tiny_batch(8),
                   {.steps = steps, .batch_size = 4, .evaluate_every = 1, .checkpoint_every = 1}, {},
                   evaluate);
  return {folder.metrics().back(), folder.metrics(), contents(folder.checkpoint_path())};
}

std::string question(const std::string& command, double seconds = 20) {
  const ChildReward reward({.command = command, .seconds = seconds});
  return message_of<ValueError>([&] { (void)checked_rewards(reward, tiny_batch(3)); });
}

}  // namespace

TEST_CASE("RL raises the reward, distillation lowers the divergence") {
  const Folder folder("rl_");
  const Run rl = run(folder / "rl", setting(0), share_of_threes, 60);
  CHECK(rl.last["reward"] > 0.5);
  CHECK(rl.metrics.front()["reward"] < 0.3);
  const Run gkd = run(folder / "gkd", setting(1), share_of_threes, 60);
  CHECK(gkd.last["reverse_kl"] < 0.5 * gkd.metrics.front()["reverse_kl"].get<double>());
}

TEST_CASE("a killed run of RL with a running mean continues bit-identical") {
  const Folder folder("rl_resume_");
  RlGkd<> how = setting(0.3);
  how.baseline = Baseline::running_mean;
  const std::string expected = run(folder / "whole", how, share_of_threes, 8).checkpoint;
  int evaluations = 0;
  struct Killed {};
  try {
    (void)run(folder / "killed", how, share_of_threes, 8, [&]() -> nlohmann::json {
      if (++evaluations == 5) throw Killed{};
      return {{"x", 1}};
    });
    FAIL("it was not killed");
  } catch (const Killed&) {
  }
  CHECK(run(folder / "killed", how, share_of_threes, 8).checkpoint == expected);
}

TEST_CASE("a step whose reward fails is dropped with a notice, and too many in a row end the run") {
  const Folder folder("rl_fails_");
  int calls = 0;
  const Reward sometimes = [&](const Batch& samples) {
    auto rewards = share_of_threes(samples);
    switch (++calls) {
      case 2:
        rewards[5] = std::nan("");
        break;
      case 4:
        rewards.pop_back();
        break;
      case 5:
        throw std::runtime_error("no answer today");
      default:
        break;
    }
    return rewards;
  };
  const Run mixed = run(folder / "some", setting(0), sometimes, 7);
  const auto notice = [&](std::size_t step) {
    return mixed.metrics[step - 1].value("notice", std::string());
  };
  CHECK(notice(1).empty());
  CHECK(notice(2).starts_with("step 2 is dropped: [reward] the reward of the response to prompt "));
  CHECK(notice(2).find(" is nan") != std::string::npos);
  CHECK(
      notice(4).starts_with("step 4 is dropped: [reward] 15 rewards for 16 responses, the first to prompt "));
  CHECK(notice(5).starts_with("step 5 is dropped: no answer today (its first prompt is "));
  CHECK(notice(6).empty());
  CHECK(mixed.metrics.size() == 7);

  const Reward never = [](const Batch&) -> std::vector<double> { throw std::runtime_error("never"); };
  CHECK(message_of<ValueError>([&] { (void)run(folder / "never", setting(0), never, 20); }) ==
        "[rl_gkd] 5 steps in a row without rewards, the last one: never");
}

TEST_CASE("a child process is asked for rewards, a line a batch") {
  // the number of tokens of each response, by the shell's own means
  const std::string count =
      "while read -r line; do r=${line#*responses\\\":[[}; r=${r%%]]*}; echo \"$r\" | "
      "awk '{n = split($0, part, /\\],\\[/); out = \"\"; for (i = 1; i <= n; ++i) {m = split(part[i], x, "
      "\",\"); out = out "
      "(i > 1 ? \",\" : \"\") m}; print \"{\\\"rewards\\\": [\" out \"]}\"; fflush()}'; done";
  const ChildReward reward({.command = count});
  const Batch batch = tiny_batch(5);
  std::vector<double> expected;
  for (int i = 0; i < batch.size(); ++i) expected.push_back(batch.responses.length(i));
  CHECK(reward(batch) == expected);
  CHECK(reward(batch) == expected);  // the same process
}

TEST_CASE("a child process that fails says how, and is started again") {
  CHECK(question("exit 3") == "[reward] 'exit 3' ended without an answer, exit code 3");
  CHECK(question("read line; kill -9 $$") ==
        "[reward] 'read line; kill -9 $$' ended without an answer, by signal 9");
  CHECK(question("no_such_program_here 2>/dev/null") ==
        "[reward] 'no_such_program_here 2>/dev/null' ended without an answer, exit code 127");
  CHECK(question("sleep 100", 0.2) == "[reward] 'sleep 100' has not answered in 0.2 seconds");
  CHECK(question("read line; echo hello") ==
        "[reward] 'read line; echo hello' answered 'hello', expected {\"rewards\": [...]}");
  CHECK(question("read line; echo '{\"rewards\": [1, null, 2]}'") ==
        "[reward] the reward of the response to prompt 1 is nan");
  CHECK(question("read line; echo '{\"rewards\": [1]}'") ==
        "[reward] 1 rewards for 3 responses, the first to prompt 0");
  CHECK(question("read line; exec >&- <&-; sleep 3", 10) ==
        "[reward] 'read line; exec >&- <&-; sleep 3' closed its output without an answer");

  const Folder folder("child_");
  const std::string marker = (folder / "once").string();
  const ChildReward twice({.command = "[ -e " + marker + " ] || { touch " + marker +
                                      "; exit 1; }; read line; echo '{\"rewards\": [1, 2, 3]}'; sleep 100"});
  CHECK_THROWS_AS(twice(tiny_batch(3)), ValueError);
  CHECK(twice(tiny_batch(3)) == std::vector<double>{1, 2, 3});
}
