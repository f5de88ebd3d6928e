// Prompts that leave no room for a response, and several tokens that end one.
#include "retort/generate/room.hpp"

#include "catch.hpp"
#include "folder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/adaptive_run.hpp"
#include "retort/training/minillm_run.hpp"
#include "retort/training/reuse_run.hpp"
#include "retort/training/rl_run.hpp"
#include "retort/training/run.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

/// Prompts of 4, 20, 2 and 21 tokens, numbered from 70; tiny decoders have 24 positions.
Batch long_prompts() {
  Batch batch;
  for (const std::size_t length : {4, 20, 2, 21})
    batch.push_back(Ids(length, 3), Ids{4, 1}, 70 + static_cast<std::uint64_t>(batch.size()));
  return batch;
}

/// The message of what `train(folder, student, teacher, optimizer)` throws, which leaves no checkpoint.
template <class Train>
std::string refusal(Train train, Index teacher_positions = 24) {
  const Folder folder("room_");
  auto student = tiny_decoder<F>(1);
  DecoderConfig config = tiny_decoder_config();
  config.positions = teacher_positions;
  const auto teacher = tiny_decoder<F>(2, config);
  auto optimizer = AdamW{}.on(parameters(student));
  RunFolder run(folder / "run");
  const std::string message = message_of<ValueError>([&] { train(run, student, teacher, optimizer); });
  CHECK_FALSE(run.has_checkpoint());
  CHECK(run.metrics().empty());
  return message;
}

const RunOptions two_steps{.steps = 2, .batch_size = 2};

}  // namespace

TEST_CASE("a prompt that leaves no room for a response is refused before the first step, with its number") {
  const std::string rest =
      " the prompt of example 71 has 20 tokens, which leaves no room for a response of 6 in the 24 positions "
      "of the student; so do 2 of 4 prompts: leave them out or ask for shorter responses";
  CHECK(refusal([](auto& folder, auto& student, const auto& teacher, auto& optimizer) {
          (void)run_minillm(folder, MiniLlm<>{.max_tokens = 6}, {.rollouts = 2}, student, teacher, optimizer,
                            long_prompts(), nullptr, two_steps);
        }) == "[minillm]" + rest);
  CHECK(refusal([](auto& folder, auto& student, const auto& teacher, auto& optimizer) {
          (void)run_rl_gkd(
              folder, RlGkd<>{.max_tokens = 6}, [](const Batch&) { return std::vector<double>{}; }, student,
              &teacher, optimizer, long_prompts(), two_steps);
        }) == "[rl_gkd]" + rest);
  CHECK(refusal([](auto& folder, auto& student, const auto& teacher, auto& optimizer) {
          const Gkd<ReverseKl, FromStudent> recipe{.max_tokens = 6};
          (void)run_reuse(folder, recipe, {.rollouts = 2, .inner_epochs = 1}, student, teacher, optimizer,
                          long_prompts(), two_steps);
        }) == "[reuse]" + rest);
  CHECK(refusal([](auto& folder, auto& student, const auto& teacher, auto& optimizer) {
          const Gkd<ReverseKl, FromData> recipe{.max_tokens = 6};
          (void)run_adaptive(folder, recipe, AdaptiveFraction{}, student, teacher, optimizer, long_prompts(),
                             tiny_batch(2), 1, two_steps);
        }) == "[adaptive]" + rest);
  const auto gkd = [](auto recipe) {
    recipe.max_tokens = 6;
    return [recipe](auto& folder, auto& student, const auto& teacher, auto& optimizer) {
      (void)run_training(folder, recipe, student, &teacher, optimizer, long_prompts(), two_steps);
    };
  };
  CHECK(refusal(gkd(recipes::on_policy_kd())) == "[run_training]" + rest);
  CHECK(refusal(gkd(recipes::imit_kd())) == "[run_training]" + rest);
  CHECK(refusal(gkd(recipes::seq_kd())) == "[run_training]" + rest);
  CHECK(refusal(gkd(recipes::f_distill()), 12).find(" in the 24 positions of the student;") !=
        std::string::npos);
}

TEST_CASE("a teacher with fewer positions than the student is named") {
  const std::string message = refusal(
      [](auto& folder, auto& student, const auto& teacher, auto& optimizer) {
        Gkd<ReverseKl, FromStudent> recipe{.max_tokens = 5};
        Batch prompts = long_prompts();
        prompts = prompts.slice(0, 3);
        (void)run_training(folder, recipe, student, &teacher, optimizer, prompts, two_steps);
      },
      22);
  CHECK(message ==
        "[run_training] the prompt of example 71 has 20 tokens, which leaves no room for a response of 5 in "
        "the 22 positions of the teacher; so do 1 of 3 prompts: leave them out or ask for shorter responses");
}

TEST_CASE("where nothing is sampled, or a model has no limit, every prompt is welcome") {
  const Folder folder("welcome_");
  const auto train = [&](const char* name, const auto& recipe, auto student, const auto& teacher) {
    auto optimizer = AdamW{}.on(parameters(student));
    RunFolder run(folder / name);
    return run_training(run, recipe, student, &teacher, optimizer, long_prompts(), two_steps).steps;
  };
  CHECK(train("data", recipes::supervised_kd(), tiny_decoder<F>(1), tiny_decoder<F>(2)) == 2);
  CHECK(train("never", recipes::gkd(Jsd{}, 0), tiny_decoder<F>(1), tiny_decoder<F>(2)) == 2);
  auto recipe = recipes::on_policy_kd();
  recipe.max_tokens = 30;
  CHECK(train("t5", recipe, tiny_t5<F>(1), tiny_t5<F>(2)) == 2);
}

TEST_CASE("the longest prompt that has room is sampled from to the end") {
  const auto student = tiny_decoder<F>(1);
  Batch batch;
  batch.push_back(Ids(19, 3), Ids{}, 0);  // 19 + 6 - 1 = 24
  require_room("test", "student", student, batch, 6);
  const auto sampled =
      generate(student, batch.prompts, batch.ids, Temperature{}, {.max_tokens = 6, .end_token = -1});
  CHECK(sampled.responses.length(0) == 6);
  CHECK_THROWS_AS(require_room("test", "student", student, batch, 7), ValueError);
}

TEST_CASE("any of several end tokens ends a sampled response of MiniLLM and of RL + GKD") {
  const auto student = tiny_decoder<F>(1), teacher = tiny_decoder<F>(2);
  const Batch prompts = tiny_batch(40);
  const RandomKey key{4, 5};
  const auto cut_at_an_end = [](const Sequences& whole, const std::vector<std::int32_t>& ends) {
    Sequences out;
    for (int i = 0; i < whole.size(); ++i) {
      Ids kept;
      for (const auto token : whole[i]) {
        kept.push_back(token);
        if (std::ranges::find(ends, token) != ends.end()) break;
      }
      out.push_back(kept);
    }
    return out;
  };
  MiniLlm<> minillm{.max_tokens = 8, .end_token = -1};
  const auto responses = [&] {
    return roll_out(student, teacher, prompts, minillm.sampling, minillm.generation(key)).samples.responses;
  };
  const Sequences whole = responses();
  REQUIRE(whole.total() == 320);
  minillm.end_token = 2, minillm.more_end_tokens = {5, 7};
  CHECK(responses() == cut_at_an_end(whole, {2, 5, 7}));
  CHECK(responses().total() < 200);
  CHECK(to_json(minillm)["more_end_tokens"] == nlohmann::json{5, 7});

  RlGkd<> rl{.max_tokens = 8, .end_token = 2, .more_end_tokens = {5, 7}};
  const auto of = [&](const GenerateOptions& options) {
    return generate(student, prompts.prompts, prompts.ids, rl.sampler, options).responses;
  };
  CHECK(of(rl.generation(key)) ==
        cut_at_an_end(of({.max_tokens = 8, .end_token = -1, .key = key}), {2, 5, 7}));
  CHECK(to_json(rl)["more_end_tokens"] == nlohmann::json{5, 7});
  CHECK_FALSE(to_json(RlGkd<>{}).contains("more_end_tokens"));
}

TEST_CASE("runs of MiniLLM and of RL + GKD heed all end tokens") {
  const Folder folder("ends_");
  auto student = tiny_decoder<F>(1);
  const auto teacher = tiny_decoder<F>(2);
  // Every token but 0 is an end: responses are nearly all of one token.
  const std::vector<std::int32_t> ends{2, 3, 4, 5, 6, 7, 8, 9, 10};
  const auto mean_length = [&](auto train) {
    auto optimizer = AdamW{}.on(parameters(student));
    RunFolder run(folder / "run");
    run.clear();
    train(run, optimizer);
    return run.metrics().front()["response_length"].template get<double>();
  };
  for (const bool all : {false, true}) {
    const double minillm = mean_length([&](auto& run, auto& optimizer) {
      MiniLlm<> how{.corpus = CorpusLoss::none, .max_tokens = 8};
      if (all) how.more_end_tokens = ends;
      (void)run_minillm(run, how, {.rollouts = 8, .inner_epochs = 1}, student, teacher, optimizer,
                        tiny_batch(8), nullptr, {.steps = 1, .batch_size = 8});
    });
    const double rl = mean_length([&](auto& run, auto& optimizer) {
      RlGkd<> how{.alpha = 1, .max_tokens = 8};
      if (all) how.more_end_tokens = ends;
      (void)run_rl_gkd(run, how, {}, student, &teacher, optimizer, tiny_batch(8),
                       {.steps = 1, .batch_size = 8});
    });
    CHECK((all ? minillm < 1.5 : minillm > 2));
    CHECK((all ? rl < 1.5 : rl > 2));
  }
}
