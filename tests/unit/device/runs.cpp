// Runs on the device that are cut short and go on: their checkpoints are those of runs that were not, bit for
// bit.
#include "folder.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/minillm_run.hpp"
#include "retort/training/run.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

/// What a kill looks like from inside.
struct Killed {};

/// A run of six steps on the student's samples that dies at an evaluation, or not at all; its checkpoint's
/// bytes.
template <class B, class Policy>
std::string run(const std::filesystem::path& path, const Policy& policy, int evaluations) {
  auto student = tiny_decoder<B>(1);
  const auto teacher = tiny_decoder<B>(2);
  auto optimizer = policy.on(parameters(student));
  auto recipe = recipes::gkd(Jsd{0.5}, 0.5);
  recipe.max_tokens = 5;
  RunFolder folder(path);
  try {
    (void)run_training(folder, recipe, student, &teacher, optimizer, tiny_batch(12),
                       {.steps = 6, .batch_size = 4, .evaluate_every = 1, .checkpoint_every = 1}, {},
                       [&]() -> nlohmann::json {
                         if (--evaluations < 0) throw Killed{};
                         return {{"x", 1}};
                       });
  } catch (const Killed&) {
  }
  return contents(folder.checkpoint_path());
}

constexpr int never = 1 << 20;

template <class B, class Policy>
void check_run(const Policy& policy) {
  const Folder whole("device_whole_");
  const std::string expected = run<B>(whole / "run", policy, never);
  const Folder folder("device_killed_");
  CHECK(run<B>(folder / "run", policy, 1) != expected);
  CHECK(run<B>(folder / "run", policy, 2) != expected);
  CHECK((run<B>(folder / "run", policy, never) == expected));
}

}  // namespace

TEST_CASE("a run on the device that was killed continues bit-identical") {
  RETORT_NEED_DEVICE();
  SECTION("float") {
    check_run<Cuda<float>>(AdamW{.learning_rate = 1e-2});
  }
  SECTION("bf16, weights in float in the checkpoint") {
    check_run<Cuda<bf16>>(AdamW{.learning_rate = 1e-3});
  }
  SECTION("bf16, Adafactor") {
    check_run<Cuda<bf16>>(Adafactor{.learning_rate = 1e-3});
  }
}

TEST_CASE("a MiniLLM run on the device that was killed continues bit-identical") {
  RETORT_NEED_DEVICE();
  using B = Cuda<bf16>;
  const auto run = [](const std::filesystem::path& path, int evaluations) {
    auto student = tiny_decoder<B>(1);
    const auto teacher = tiny_decoder<B>(2);
    auto optimizer = AdamW{.learning_rate = 1e-3}.on(parameters(student));
    MiniLlm<> how = minillm::reference();
    how.max_tokens = 5;
    const Batch corpus = tiny_batch(7, 5);
    RunFolder folder(path);
    try {
      (void)run_minillm(folder, how, {.rollouts = 8, .inner_epochs = 2, .sampling_batch = 3}, student,
                        teacher, optimizer, tiny_batch(12), &corpus,
                        {.steps = 6, .batch_size = 4, .evaluate_every = 1, .checkpoint_every = 1}, {},
                        [&]() -> nlohmann::json {
                          if (--evaluations < 0) throw Killed{};
                          return {{"x", 1}};
                        });
    } catch (const Killed&) {
    }
    return contents(folder.checkpoint_path());
  };
  const Folder whole("device_minillm_"), folder("device_minillm_killed_");
  const std::string expected = run(whole / "run", never);
  CHECK(run(folder / "run", 3) != expected);  // between two updates of a phase, which has 4
  CHECK((run(folder / "run", never) == expected));
}

TEST_CASE("a checkpoint says which device and numbers it is of, and is continued by no other") {
  RETORT_NEED_DEVICE();
  const Folder folder("device_config_");
  const AdamW policy{.learning_rate = 1e-3};
  (void)run<Cuda<bf16>>(folder / "run", policy, 2);
  const auto path = folder / "run" / "checkpoint.safetensors";
  const std::string before = contents(path);
  CHECK(contents(folder / "run" / "config.json").find(R"("dtype": "bfloat16")") != std::string::npos);
  CHECK(message_of<FileError>([&] {
          (void)run<Cuda<float>>(folder / "run", policy, never);
        }).find("backend.dtype is \"bfloat16\" there and \"float32\" here") != std::string::npos);
  CHECK(message_of<FileError>([&] {
          (void)run<Cpu<float>>(folder / "run", policy, never);
        }).find("belongs to a run of another configuration: backend is ") != std::string::npos);
  CHECK((contents(path) == before));

  const SafetensorsFile file(path);
  CHECK(file.dtype("model/token.weight") == "BF16");
  CHECK(file.dtype("optimizer/token.weight.master") == "F32");
  CHECK(file.dtype("optimizer/token.weight.first_moment") == "F32");
  // Its weights alone are read by models of other numbers.
  auto wide = tiny_decoder<Cuda<float>>(3);
  auto narrow = tiny_decoder<Cuda<bf16>>(4);
  load_checkpoint_weights(path, parameters(wide));
  load_checkpoint_weights(path, parameters(narrow));
  const auto loaded = numbers(parameters(narrow)[0]->value);
  CHECK((numbers(parameters(wide)[0]->value) == loaded));
  auto untrained = tiny_decoder<Cuda<bf16>>(4);
  CHECK((numbers(parameters(untrained)[0]->value) != loaded));
}
