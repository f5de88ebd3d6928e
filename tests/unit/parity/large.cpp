// A real checkpoint, where there is one: see tests/parity/models/make_large_fixture.py.
#include <chrono>
#include <cstdlib>
#include <fstream>

#include "expected_of_model.hpp"

using namespace retort;
using namespace retort::test;

namespace {

/// A line of /proc/self/status in bytes; 0 where there is none.
double status_of(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return 1024 * std::stod(line.substr(name.size() + 1));
  return 0;
}

}  // namespace

TEST_CASE(
    "a real checkpoint has transformers' log-probabilities and tokens, in little more memory than it needs") {
  const char *folder = std::getenv("RETORT_LARGE_MODEL"), *fixture = std::getenv("RETORT_LARGE_FIXTURE");
  if (folder == nullptr || fixture == nullptr)
    RETORT_SKIP("RETORT_LARGE_MODEL and RETORT_LARGE_FIXTURE name no model and no fixture");
  const double before = status_of("VmRSS");
  const auto start = std::chrono::steady_clock::now();
  AnyModel<Cpu<float>> model = load_model(folder);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const double weights = 4.0 * static_cast<double>(parameter_count(parameters(model)));
  const double grown = status_of("VmHWM") - before;
  fmt::print("loaded {:.0f} MB of weights in {:.2f} s, memory grew by {:.3f} of them at most\n",
             weights / 1e6, seconds.count(), grown / weights);
  CHECK(grown <= 1.05 * weights);

  const ExpectedOfModel expected{std::filesystem::path(fixture) / "large.safetensors"};
  const Sequences prompts = expected.prompts();
  const auto greedy = expected.ids("greedy"), tokens = expected.ids("tokens");
  Sequences responses;
  for (int i = 0; i < prompts.size(); ++i)
    responses.push_back(std::span(greedy).subspan(static_cast<std::size_t>(32 * i), 32));
  CHECK(greedy_tokens(model, prompts, 32) == responses);

  const auto numbers = expected.numbers("log_probabilities");
  REQUIRE(numbers.size() == 1000);
  double worst = 0;
  const Index v = model.vocabulary();
  for (int i = 0; i < prompts.size(); ++i) {
    const int rows[] = {i};
    auto logits = logits_of(model, prompts.select(rows), responses.select(rows));  // (32, vocabulary)
    const auto row =
        std::span(logits).subspan(static_cast<std::size_t>(3 * i * v), static_cast<std::size_t>(v));
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    for (int k = 0; k < 100; ++k) {
      const auto at = static_cast<std::size_t>(100 * i + k);
      const double log_p = static_cast<double>(row[static_cast<std::size_t>(tokens[at])]) - std::log(sum);
      worst = std::max(worst, std::abs(log_p - numbers[at]));
    }
  }
  fmt::print("1,000 log-probabilities, apart by at most {:.1e}\n", worst);
  CHECK(worst <= 2e-4);
}
