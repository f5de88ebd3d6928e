// What a teacher's k most probable tokens in a file cost and keep: bytes a token, tail mass, and the loss of
// a student against the loss with the whole teacher.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "retort/distill/sparse_teacher.hpp"
#include "retort/io/hugging_face/folder.hpp"
#include "retort/io/teacher_file.hpp"
#include "retort/io/teacher_file_writer.hpp"
#include "retort/text/load_tokenizer.hpp"
#include "retort/version.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"

namespace {

using namespace retort;
using B = Cpu<float>;
using Model = AnyModel<B>;

struct Settings {
  std::string model, student, data, json, dtype = "F16";
  int examples = 20, max_prompt = 256, max_tokens = 64;
  double noise = 0.1;
  std::vector<Index> k{1, 5, 10, 25, 50, 100, 500};
};

/// GPT-2 small's shape with random weights. Its final norm is turned up until the next token is about as
/// certain as a trained model's: random logits of standard deviation 5 over 50,257 tokens.
Model random_model() {
  Decoder<B> model(DecoderConfig{});
  const auto list = parameters(model);
  for (auto* p : list)
    if (p->name.starts_with("norm."))
      for (float& x : p->value.span()) x *= 9;
  return model;
}

/// Adds normal noise to every matrix, in units of its root mean square: a student that is near the teacher.
void add_noise(Model& model, double noise) {
  std::uint64_t number = 0;
  for (auto* p : parameters(model)) {
    if (p->value.rank() < 2) continue;
    double square = 0;
    for (const float x : p->value.span()) square += static_cast<double>(x) * static_cast<double>(x);
    const auto size = static_cast<std::size_t>(p->value.size());
    const double deviation = noise * std::sqrt(square / static_cast<double>(size));
    TensorOf<B> normal(p->shape());
    kernels::fill_normal(CpuDevice{}, RandomKey{7, number++}, normal.size(), 0.0f,
                         static_cast<float>(deviation), normal.data());
    kernels::map(
        CpuDevice{}, Write::accumulate, normal.size(), [](auto x) { return x; }, p->value.data(),
        normal.data());
  }
}

/// The first examples of a file of prompts and outputs, or random tokens for a model without a tokenizer.
Batch load_data(const Settings& s, Index vocabulary) {
  Batch batch;
  if (s.model.empty()) {
    for (int i = 0; i < s.examples; ++i) {
      const RandomKey key{3, static_cast<std::uint64_t>(i)};
      std::vector<std::int32_t> tokens;
      for (int t = 0; t < 32 + s.max_tokens; ++t)
        tokens.push_back(static_cast<std::int32_t>(key.uniform(static_cast<std::uint64_t>(t)) *
                                                   static_cast<double>(vocabulary)));
      const std::span all(tokens);
      batch.push_back(all.first(32), all.subspan(32), static_cast<std::uint64_t>(i));
    }
    return batch;
  }
  const Tokenizer tokenizer = load_tokenizer(s.model);
  if (tokenizer.stop().empty())
    fail<ValueError>("offline_teacher", "the tokenizer of '{}' names no end of a sequence", s.model);
  std::ifstream in(s.data);
  std::string line;
  for (std::uint64_t number = 0; batch.size() < s.examples && std::getline(in, line); ++number) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("prompt") || !json.contains("output"))
      fail<FileError>("offline_teacher", "'{}', line {}: no object with prompt and output", s.data,
                      number + 1);
    const auto prompt = tokenizer.encode(json["prompt"].get<std::string>());
    auto response = tokenizer.encode(json["output"].get<std::string>(), false);
    response.push_back(tokenizer.stop().front());
    if (std::ssize(prompt) > s.max_prompt) continue;
    response.resize(std::min(response.size(), static_cast<std::size_t>(s.max_tokens)));
    batch.push_back(prompt, response, number);
  }
  if (batch.empty()) fail<FileError>("offline_teacher", "'{}' has no usable example", s.data);
  return batch;
}

/// Mean losses of a student, in nats a token, by name.
using Losses = std::map<std::string, double>;

/// The losses whose rows `compute(divergence)` returns.
template <class F>
Losses losses_of(F compute) {
  Losses losses;
  const auto add = [&](const char* name, const auto& divergence) {
    const HeadLoss<B> loss = compute(divergence);
    for (const double l : loss.per_row) losses[name] += l / static_cast<double>(loss.per_row.size());
  };
  add("forward_kl", ForwardKl{}), add("reverse_kl", ReverseKl{}), add("jsd", Jsd{0.5});
  return losses;
}

/// A file of `targets`, and the targets as they come back from it.
struct Stored {
  SparseTargets targets;
  std::size_t bytes_per_token = 0;  ///< of response
  double file_bytes = 0;
};
Stored store(const SparseTargets& targets, const Batch& data, const std::string& dtype) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("retort_teacher_{}", ::getpid());
  TeacherFileWriter writer(path, {.k = targets.k, .vocabulary = targets.vocabulary, .dtype = dtype});
  writer.add(data, targets);
  writer.finish();
  const TeacherFile file(path);
  Stored out{file.targets(data), file.info().row_bytes(),
             static_cast<double>(std::filesystem::file_size(path))};
  std::filesystem::remove(path);
  return out;
}

void run(const Settings& s) {
  Model teacher = s.model.empty() ? random_model() : HuggingFaceFolder(s.model).load<B>();
  Model student = !s.student.empty() ? HuggingFaceFolder(s.student).load<B>()
                  : s.model.empty()  ? random_model()
                                     : HuggingFaceFolder(s.model).load<B>();
  if (s.student.empty()) add_noise(student, s.noise);
  const Batch data = load_data(s, teacher.vocabulary());

  const double began = bench::now();
  const SparseTargets targets = sparse_targets(teacher, data, std::ranges::max(s.k));
  const double seconds = bench::now() - began;
  const Context<B> silent;
  Context<B> of_student, of_teacher;
  const auto hidden = student.hidden(of_student, data.prompts, data.responses);  // (tokens, width)
  const auto teacher_hidden = teacher.hidden(of_teacher, data.prompts, data.responses);
  const auto weights = TensorOf<B>::full({targets.rows()}, 1.0f);
  const Losses whole = losses_of([&](const auto& divergence) {
    return head_divergence(silent, divergence, student.head(), hidden, teacher.head(), teacher_hidden.value(),
                           weights);
  });

  fmt::print("retort {}, {}, {} threads\n", version, bench::cpu_name(), thread_count());
  fmt::print("teacher {}, student {}; {} examples, {} response tokens, vocabulary {}, numbers {}\n",
             s.model.empty() ? "of GPT-2's shape with random weights" : s.model,
             s.student.empty() ? fmt::format("the same with noise of {}", s.noise) : s.student, data.size(),
             targets.rows(), targets.vocabulary, s.dtype);
  fmt::print(
      "targets of k {} made in {:.1f} s; losses with the whole teacher: forward KL {:.4f}, reverse KL "
      "{:.4f}, JSD(0.5) {:.4f}\n\n",
      targets.k, seconds, whole.at("forward_kl"), whole.at("reverse_kl"), whole.at("jsd"));
  fmt::print("{:>5} {:>12} {:>12} {:>10} {:>18} {:>18} {:>18}\n", "k", "bytes/token", "with prompt",
             "tail mass", "forward KL", "reverse KL", "JSD(0.5)");
  nlohmann::json out{{"cpu", bench::cpu_name()},
                     {"teacher", s.model},
                     {"student", s.student},
                     {"noise", s.noise},
                     {"examples", data.size()},
                     {"tokens", targets.rows()},
                     {"vocabulary", targets.vocabulary},
                     {"dtype", s.dtype},
                     {"seconds", seconds},
                     {"whole", whole},
                     {"rows", nlohmann::json::array()}};
  for (const Index k : s.k) {
    const SparseTargets few = targets.top(k);
    const Stored stored = store(few, data, s.dtype);
    const auto rows = detail::sparse_rows<B>(stored.targets);
    const Losses losses = losses_of([&](const auto& divergence) {
      return head_sparse_divergence(silent, divergence, student.head(), hidden, rows, weights);
    });
    double tail = 0;
    for (const double x : few.log_tail) tail += std::exp(x) / static_cast<double>(few.rows());
    const double with_prompts = stored.file_bytes / static_cast<double>(few.rows());
    fmt::print("{:>5} {:>12} {:>12.1f} {:>10.4f}", k, stored.bytes_per_token, with_prompts, tail);
    for (const char* name : {"forward_kl", "reverse_kl", "jsd"})
      fmt::print(" {:>8.4f} ({:5.1f} %)", losses.at(name), 100 * losses.at(name) / whole.at(name));
    fmt::print("\n");
    out["rows"].push_back({{"k", k},
                           {"bytes_per_token", stored.bytes_per_token},
                           {"file_bytes_per_token", with_prompts},
                           {"tail_mass", tail},
                           {"losses", losses}});
  }
  if (!s.json.empty()) {
    std::ofstream file(s.json);
    if (!(file << out.dump(2) << '\n')) fail<FileError>("offline_teacher", "'{}' cannot be written", s.json);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Prints what k tokens of a teacher in a file cost, and a student's loss on them against the "
      "loss with the whole teacher.");
  Settings s;
  app.add_option("--model", s.model, "Hugging Face folder of the teacher; default: random weights");
  app.add_option("--student", s.student, "folder of the student; default: the teacher with noise");
  app.add_option("--noise", s.noise, "of that student's weights, relative")->capture_default_str();
  auto* data = app.add_option("--data", s.data, "JSONL file with prompt and output, for --model");
  app.get_option("--model")->needs(data);
  app.add_option("--examples", s.examples, "how many")->check(CLI::Range(1, 100'000))->capture_default_str();
  app.add_option("--max-prompt", s.max_prompt, "longer prompts are left out")->capture_default_str();
  app.add_option("--max-tokens", s.max_tokens, "responses are cut there")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--k", s.k, "tokens kept")->delimiter(',')->check(CLI::Range(1, 100'000));
  app.add_option("--dtype", s.dtype, "of log-probabilities")
      ->check(CLI::IsMember({"F16", "BF16", "F32"}))
      ->capture_default_str();
  app.add_option("--json", s.json, "also write the figures to this file");
  return support::run_program("offline_teacher", app, argc, argv, [&] {
    run(s);
    return 0;
  });
}
