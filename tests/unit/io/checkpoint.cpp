#include "retort/io/checkpoint.hpp"

#include <sys/wait.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "folder.hpp"
#include "retort/core/philox.hpp"
#include "retort/io/run_folder.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"

using namespace retort;
using namespace retort::test;
using nlohmann::json;
using B = Cpu<float>;

namespace {

struct Model {
  Parameter<B> matrix{"matrix", {5, 7}}, bias{"bias", {7}};
  Model() {
    for (auto* p : list())
      for (Index i = 0; i < p->value.size(); ++i) p->value.data()[i] = std::cos(0.4f * static_cast<float>(i));
  }
  ParameterList<B> list() { return {&matrix, &bias}; }
  std::vector<float> weights() {
    auto all = matrix.value.to_host();
    const auto more = bias.value.to_host();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // A gradient with noise that depends on seed and step alone. Returns a loss.
  double backward(std::uint64_t seed, Index step) {
    const RandomKey key = RandomKey{seed, 3}.fork(static_cast<std::uint64_t>(step));
    double loss = 0;
    std::uint64_t place = 0;
    for (auto* p : list()) {
      (void)p->open_grad();
      for (Index i = 0; i < p->value.size(); ++i) {
        const float target = static_cast<float>(key.block(place++)[0]) * 0x1p-32f;
        p->grad.data()[i] = p->value.data()[i] - target;
        loss += p->grad.data()[i] * p->grad.data()[i];
      }
    }
    return loss;
  }
};

template <class Policy>
void steps(Model& model, Optimizer<Policy, B>& optimizer, int count) {
  for (int i = 0; i < count; ++i) {
    model.backward(1, optimizer.steps());
    optimizer.step();
  }
}

const json config{{"optimizer", to_json(AdamW{})}, {"width", 7}};

// A run of 40 steps that goes on where its folder says it stood, and kills itself at the given moment.
void run(const std::filesystem::path& path, std::uint32_t moments = 1000) {
  const auto moment = [&] {
    if (--moments == 0) ::kill(::getpid(), SIGKILL);
  };
  RunFolder folder(path);
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  Index done = 0;
  if (folder.has_checkpoint())
    done = load_checkpoint(folder.checkpoint_path(), model.list(), optimizer, config)["step"].get<Index>();
  else
    folder.write_config(config, 5);
  folder.keep_metrics(done);
  while (done < 40) {
    const double loss = model.backward(5, done);
    optimizer.step();
    ++done;
    moment();
    folder.append_metrics({{"step", done}, {"loss", loss}});
    moment();
    if (done % 3 != 0 && done != 40) continue;
    folder.write_samples(done, fmt::format("{}\n", model.weights()[0]));
    folder.sync_metrics();
    moment();
    save_checkpoint(folder.checkpoint_path(), model.list(), optimizer, config, {{"step", done}});
    moment();
  }
}

}  // namespace

TEST_CASE("a run continued from a checkpoint is the uninterrupted one bit for bit") {
  const Folder folder("checkpoint");
  const auto check = [&](const auto& policy) {
    INFO(summary(policy));
    const auto path = folder / "checkpoint.safetensors";
    Model whole, half, other;
    auto uninterrupted = policy.on(whole.list()), first = policy.on(half.list()),
         second = policy.on(other.list());
    steps(whole, uninterrupted, 9);
    steps(half, first, 4);
    save_checkpoint(path, half.list(), first, to_json(policy), {{"step", 4}, {"seed", ~std::uint64_t{0}}});
    const json state = load_checkpoint(path, other.list(), second, to_json(policy));
    CHECK(state == json{{"step", 4}, {"seed", ~std::uint64_t{0}}});
    CHECK(second.steps() == 4);
    CHECK(second.updates() == first.updates());
    steps(other, second, 5);
    CHECK(other.weights() == whole.weights());

    Model weights_only;
    load_checkpoint_weights(path, weights_only.list());
    CHECK(weights_only.weights() == half.weights());
  };
  check(AdamW{.learning_rate = 0.01});
  check(Adafactor{.learning_rate = 0.01, .beta1 = 0.9});
  check(Sgd{.learning_rate = 0.01, .momentum = 0.9});
  check(Sgd{.learning_rate = 0.01});
}

TEST_CASE("a run killed at any moment ends with the same files as the uninterrupted one") {
  const Folder folder("killed");
  run(folder / "whole");
  const RandomKey key{11, 1};
  std::uint32_t kills = 0;
  for (bool finished = false; !finished; ++kills) {
    const auto random = key.block(kills);
    const ::pid_t child = ::fork();
    if (child == 0) {
      try {
        run(folder / "killed", 1 + random[0] % 12);  // a checkpoint comes after 8
      } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        std::_Exit(1);
      }
      std::_Exit(0);
    }
    if (kills % 2 == 1) {  // or at any other moment, later and later, so that the run ends on slow disks too
      std::this_thread::sleep_for(std::chrono::microseconds(random[1] % (2'000 + 100 * kills)));
      ::kill(child, SIGKILL);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    finished = WIFEXITED(status);
    if (finished) REQUIRE(WEXITSTATUS(status) == 0);
  }
  INFO(kills - 1 << " kills");
  for (const char* name : {"config.json", "metrics.jsonl", "checkpoint.safetensors",
                           "samples/step_00000003.txt", "samples/step_00000040.txt"}) {
    INFO(name);
    CHECK_FALSE(contents(folder / "whole" / name).empty());
    CHECK(contents(folder / "whole" / name) == contents(folder / "killed" / name));
  }
}

TEST_CASE("a checkpoint of another configuration is refused with the first value that differs") {
  const Folder folder("checkpoint");
  const auto path = folder / "checkpoint.safetensors";
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  steps(model, optimizer, 2);
  save_checkpoint(path, model.list(), optimizer, config, {});
  const auto after = model.weights();
  const auto refusal = [&](const json& other) {
    return message_of<OtherRunError>([&] { (void)load_checkpoint(path, model.list(), optimizer, other); });
  };
  json other = config;
  CHECK(refusal(other) == "no error");
  other["optimizer"]["beta2"] = 0.95;
  CHECK(refusal(other) ==
        "[checkpoint] '" + path.string() +
            "' belongs to a run of another configuration: optimizer.beta2 is 0.999 there and 0.95 here");
  other = config;
  other["seed"] = 3;
  CHECK_THAT(refusal(other), Catch::Matchers::EndsWith("seed is not set there and 3 here"));

  auto another = Sgd{}.on(model.list());
  CHECK_THAT(message_of<FileError>([&] { (void)load_checkpoint(path, model.list(), another, config); }),
             Catch::Matchers::EndsWith("another optimizer: \"adamw\" there, sgd here"));
  CHECK(model.weights() == after);
}

TEST_CASE("a checkpoint of another model is refused and changes nothing") {
  const Folder folder("checkpoint");
  const auto path = folder / "checkpoint.safetensors";
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  save_checkpoint(path, model.list(), optimizer, config, {});
  Parameter<B> matrix("matrix", {5, 7}), bias("bias", {8});
  for (auto* p : {&matrix, &bias}) p->value = Tensor<float, CpuDevice>::full(p->shape(), 3);
  const ParameterList<B> list{&matrix, &bias};
  auto wider = AdamW{}.on(list);
  const auto text = message_of<FileError>([&] { (void)load_checkpoint(path, list, wider, config); });
  CHECK_THAT(
      text, Catch::Matchers::Contains("model/bias has shape (7) in the file, expected (8); "
                                      "optimizer/bias.first_moment has shape (7) in the file, expected (8)"));
  CHECK(matrix.value.to_host() == std::vector<float>(35, 3));
  bias.name = "gain";
  CHECK_THAT(message_of<FileError>([&] { load_checkpoint_weights(path, list); }),
             Catch::Matchers::EndsWith("missing: model/gain; not expected: model/bias"));
}

TEST_CASE("a damaged checkpoint is a FileError whatever is damaged, and changes nothing") {
  const Folder folder("checkpoint");
  const auto path = folder / "checkpoint.safetensors";
  Model saved;
  auto saver = AdamW{}.on(saved.list());
  steps(saved, saver, 3);
  save_checkpoint(path, saved.list(), saver, config, {{"step", 3}});
  const std::string whole = contents(path);
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  const auto before = model.weights();
  const auto load = [&](std::string_view bytes) {
    write_plainly(path, bytes);
    (void)load_checkpoint(path, model.list(), optimizer, config);
  };
  for (std::size_t size = 0; size < whole.size(); size += 13)
    CHECK_THROWS_AS(load(std::string_view(whole).substr(0, size)), FileError);
  const std::size_t header_end = whole.rfind('}') + 1;
  for (std::size_t at = 0; at < whole.size(); at += 1 + at % 3) {
    if (at >= header_end && whole[at] == ' ') continue;  // padding
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    INFO("byte " << at);
    CHECK_THROWS_AS(load(bytes), FileError);
  }
  CHECK(model.weights() == before);
  CHECK(optimizer.steps() == 0);
  load(whole);
  CHECK(model.weights() == saved.weights());
}

TEST_CASE("a file that is no checkpoint is refused, also with the right checksum") {
  const Folder folder("checkpoint");
  const auto path = folder / "checkpoint.safetensors";
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  const auto refusal = [&](const std::vector<std::pair<const char*, const char*>>& metadata) {
    SafetensorsWriter writer;
    for (const auto& [key, value] : metadata) writer.metadata(key, value);
    writer.write(path, true);
    const auto text =
        message_of<FileError>([&] { (void)load_checkpoint(path, model.list(), optimizer, json::object()); });
    const auto colon = text.find("checkpoint: ");
    return colon == std::string::npos ? text : text.substr(colon + 12);
  };
  const std::pair<const char*, const char*> format{"format", "retort.checkpoint 1"}, state{"state", "{}"},
      conf{"config", "{}"};
  save_parameters(path, model.list());
  CHECK_THROWS_AS(load_checkpoint_weights(path, model.list()), FileError);
  CHECK(refusal({}) == "its format is not 'retort.checkpoint 1'");
  CHECK(refusal({format}) == "it has no metadata called state");
  CHECK(refusal({format, {"state", "{"}}) == "its metadata called state is not what it should be");
  CHECK(refusal({format, state, conf, {"optimizer", "[]"}}) ==
        "its metadata called optimizer is not what it should be");
  CHECK(refusal({format, state, conf, {"optimizer", R"({"name":"adamw"})"}}) ==
        "it does not count the optimizer's steps");
  CHECK(refusal({format, state, conf, {"optimizer", R"({"name":"adamw","steps":1,"updates":7})"}}) ==
        "it does not count the optimizer's matrix");
  CHECK_THAT(refusal({format,
                      state,
                      conf,
                      {"optimizer", R"({"name":"adamw","steps":1,"updates":{"matrix":1,"bias":1}})"}}),
             Catch::Matchers::Contains("missing: model/matrix, model/bias, optimizer/matrix.first_moment"));
}

TEST_CASE("a full disk keeps the old checkpoint, and the run can go on") {
  const Folder folder("checkpoint");
  const auto path = folder / "checkpoint.safetensors";
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  save_checkpoint(path, model.list(), optimizer, config, {{"step", 0}});
  const std::string before = contents(path);
  steps(model, optimizer, 1);
  {
    const SmallDisk disk(before.size() - 10);
    const auto text = message_of<FileError>([&] {
      save_checkpoint(path, model.list(), optimizer, config, {{"step", 1}});
    });
    CHECK_THAT(text, Catch::Matchers::StartsWith("[write] cannot write '" + path.string() + "': "));
  }
  CHECK(contents(path) == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
  save_checkpoint(path, model.list(), optimizer, config, {{"step", 1}});
  CHECK(load_checkpoint(path, model.list(), optimizer, config)["step"] == 1);
}

TEST_CASE("a state that is not text is refused, and the old checkpoint is kept") {
  const Folder folder("checkpoint");
  const auto path = folder / "checkpoint.safetensors";
  Model model;
  auto optimizer = AdamW{}.on(model.list());
  save_checkpoint(path, model.list(), optimizer, config, {});
  const std::string before = contents(path);
  CHECK_THROWS_AS(save_checkpoint(path, model.list(), optimizer, config, {{"name", "\xff"}}), ValueError);
  CHECK(contents(path) == before);
}
