// Speculative decoding against decoding with the teacher alone: tokens a second, and how much of the draft's
// work the teacher accepts.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/distill/divergences.hpp"
#include "retort/distill/objective.hpp"
#include "retort/generate/speculative.hpp"
#include "retort/io/hugging_face/folder.hpp"
#include "retort/models/layer_subset.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/version.hpp"
#include "support/flags.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"

namespace {

using namespace retort;
using B = Cpu<float>;
using Model = Decoder<B, Llama>;  // one family: the others would be compiled for nothing

/// A model of 64 tokens with weights large enough that its distributions are far from uniform.
Model tiny(Index width, Index layers, std::uint64_t seed) {
  DecoderConfig config = Llama::config();
  config.vocabulary = 64, config.positions = 256, config.width = width, config.layers = layers;
  config.heads = width / 32, config.hidden = 3 * width, config.init_deviation = 0.1;
  return Model(config, {seed});
}

/// On-policy distillation (GKD with total variation, of which the acceptance rate is 1 minus).
void distil(Model& student, const Model& teacher, int steps) {
  auto optimizer = AdamW{.learning_rate = 5e-3}.on(parameters(student));
  Batch batch;
  for (std::int32_t i = 0; i < 64; ++i)
    batch.push_back(std::vector{i}, std::vector{i}, static_cast<std::uint64_t>(i));
  for (int step = 0; step < steps; ++step) {
    batch.responses =
        generate(student, batch.prompts, batch.ids, Temperature{},
                 {.max_tokens = 24, .end_token = -1, .key = {2, static_cast<std::uint64_t>(step)}})
            .responses;
    Tape<B> tape;
    Context<B> context{.tape = &tape, .training = true};
    tape.backward(
        objective_loss(TotalVariation{}, context, student, &teacher, batch, Normaliser::of(batch.responses))
            .value);
    optimizer.step();
  }
}

struct Flags {
  std::string teacher, draft, json;
  int draft_layers = 10, sequences = 16, batch = 1, tokens = 64, rounds = 3;
  std::vector<Index> ahead{2, 4, 8};
  double temperature = 1;
};

/// Layers spread evenly over the teacher's, its first and last among them.
LayerSubset spread(const Model& teacher, Index count) {
  const Index there = teacher.config().layers;
  LayerSubset subset;
  for (Index i = 0; i < count; ++i)
    subset.layers.push_back(count == 1 ? 0 : (2 * i * (there - 1) + count - 1) / (2 * (count - 1)));
  return subset;
}

class Comparison {
 public:
  Comparison(const Flags& flags, const Model& teacher, std::int32_t first_token)
      : flags_(flags), teacher_(teacher) {
    // Prompts in the teacher's own words.
    for (int i = 0; i < flags.sequences; ++i) {
      prompts_.push_back(std::vector{first_token});
      ids_.push_back(static_cast<std::uint64_t>(i));
    }
    const Sequences more =
        generate(teacher, prompts_, ids_, Temperature{}, {.max_tokens = 16, .end_token = -1, .key = {1}})
            .responses;
    Sequences longer;
    for (int i = 0; i < flags.sequences; ++i) {
      std::vector<std::int32_t> prompt{first_token};
      prompt.insert(prompt.end(), more[i].begin(), more[i].end());
      longer.push_back(prompt);
    }
    prompts_ = longer;
    fmt::print("{:<28} {:>10} {:>9} {:>10} {:>10} {:>14}\n", "decoding", "proposals", "tokens/s", "x teacher",
               "accepted", "tokens a pass");
    alone_ = tokens_per_second([&](const Sequences& p, std::span<const std::uint64_t> ids) {
      return generate(teacher_, p, ids, Temperature{flags_.temperature},
                      {.max_tokens = flags_.tokens, .end_token = -1})
          .responses.total();
    });
    report({"teacher alone", 0, alone_, 1, 0, 1});
  }

  void add(const std::string& name, const Model& draft) {
    for (const Index ahead : flags_.ahead) {
      double accepted = 0, judged = 0, tokens = 0, passes = 0;
      const double speed = tokens_per_second([&](const Sequences& p, std::span<const std::uint64_t> ids) {
        const Speculated s =
            speculative_generate(teacher_, draft, p, ids, Temperature{flags_.temperature},
                                 {.max_tokens = flags_.tokens, .end_token = -1, .draft_tokens = ahead});
        accepted += static_cast<double>(s.accepted), judged += static_cast<double>(s.judged);
        tokens += s.samples.responses.total(), passes += static_cast<double>(s.sequence_passes);
        return s.samples.responses.total();
      });
      report({name, ahead, speed, speed / alone_, accepted / judged, tokens / passes});
    }
  }

  [[nodiscard]] const nlohmann::json& rows() const { return rows_; }

 private:
  struct Row {
    std::string name;
    Index ahead;
    double speed, ratio, accepted, per_pass;
  };

  const Flags& flags_;
  const Model& teacher_;
  Sequences prompts_;
  std::vector<std::uint64_t> ids_;
  double alone_ = 0;
  nlohmann::json rows_ = nlohmann::json::array();

  /// The median of some rounds over all prompts, `batch` at a time.
  template <class Decode>
  double tokens_per_second(Decode decode) {
    std::vector<double> speeds;
    for (int round = 0; round < flags_.rounds; ++round) {
      const double begin = bench::now();
      int tokens = 0;
      for (int first = 0; first < flags_.sequences; first += flags_.batch) {
        std::vector<int> rows;
        for (int i = first; i < std::min(flags_.sequences, first + flags_.batch); ++i) rows.push_back(i);
        tokens += decode(prompts_.select(rows),
                         std::span(ids_).subspan(static_cast<std::size_t>(first), rows.size()));
      }
      speeds.push_back(tokens / (bench::now() - begin));
    }
    return bench::median(speeds);
  }

  void report(const Row& r) {
    fmt::print("{:<28} {:>10} {:>9.1f} {:>10.2f} {:>9.1f}% {:>14.2f}\n", r.name, r.ahead, r.speed, r.ratio,
               100 * r.accepted, r.per_pass);
    rows_.push_back({{"decoding", r.name},
                     {"draft_tokens", r.ahead},
                     {"tokens_per_second", r.speed},
                     {"ratio_to_teacher", r.ratio},
                     {"acceptance_rate", r.accepted},
                     {"tokens_per_pass", r.per_pass}});
  }
};

nlohmann::json run(const Flags& flags) {
  fmt::print("retort {}, {}, {} threads; {} sequences, {} at a time, {} tokens each\n", version,
             bench::cpu_name(), thread_count(), flags.sequences, flags.batch, flags.tokens);
  if (!flags.teacher.empty()) {
    const HuggingFaceFolder folder(flags.teacher);
    Model teacher = folder.load_as<Model>();
    const auto first = folder.config().value("bos_token_id", nlohmann::json());
    Comparison comparison(flags, teacher, first.is_number_integer() ? first.get<std::int32_t>() : 1);
    if (flags.draft.empty())
      comparison.add(fmt::format("draft: {} of its layers", flags.draft_layers),
                     take_layers(teacher, spread(teacher, flags.draft_layers)));
    else
      comparison.add("draft: the given model", HuggingFaceFolder(flags.draft).load_as<Model>());
    return comparison.rows();
  }
  const Model teacher = tiny(128, 6, 1);
  Model student = tiny(32, 1, 2);
  Comparison comparison(flags, teacher, 2);
  comparison.add("draft: student, untrained", student);
  distil(student, teacher, 200);
  comparison.add("draft: student, distilled", student);
  return comparison.rows();
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "Compares speculative decoding with the teacher alone. Without --teacher: of a tiny one with random "
      "weights "
      "and a student that is distilled for some seconds.");
  app.add_option("--teacher", flags.teacher, "Hugging Face folder of a LLaMA model")
      ->check(CLI::ExistingDirectory);
  app.add_option("--draft", flags.draft, "folder of the draft; without it, some of the teacher's layers")
      ->check(CLI::ExistingDirectory);
  app.add_option("--draft-layers", flags.draft_layers, "how many of them")
      ->capture_default_str()
      ->check(support::above_zero<int>());
  app.add_option("--draft-tokens", flags.ahead, "proposals between two passes of the teacher")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--sequences", flags.sequences, "how many are decoded")->capture_default_str();
  app.add_option("--batch", flags.batch, "how many at a time")
      ->capture_default_str()
      ->check(support::above_zero<int>());
  app.add_option("--tokens", flags.tokens, "length of each")->capture_default_str();
  app.add_option("--temperature", flags.temperature, "of sampling")->capture_default_str();
  app.add_option("--rounds", flags.rounds, "the median of so many is printed")->capture_default_str();
  app.add_option("--json", flags.json, "also write the figures to this file");
  return support::run_program("speculative", app, argc, argv, [&] {
    const nlohmann::json rows = run(flags);
    if (flags.json.empty()) return 0;
    std::ofstream file(flags.json);
    file << nlohmann::json{{"cpu", bench::cpu_name()}, {"threads", thread_count()}, {"rows", rows}}.dump(2)
         << '\n';
    if (!file) {
      fmt::print(stderr, "{}: cannot be written\n", flags.json);
      return 2;
    }
    return 0;
  });
}
