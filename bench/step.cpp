// Training steps at real sizes, as a share of the machine's arithmetic peak measured in the same run.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/distill/gkd.hpp"
#include "retort/distill/minillm.hpp"
#include "retort/models/decoder.hpp"
#include "retort/models/encoder_decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/minillm_step.hpp"
#include "retort/training/step.hpp"
#include "retort/version.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/sequences.hpp"

namespace {

using namespace retort;
using bench::random_sequences;
using B = Cpu<float>;

struct Row {
  std::string work;
  double seconds = 0, flops = 0;
  nlohmann::json parts = nlohmann::json::object();
};

/// Language-model training of a decoder: batch x length tokens, next-token cross-entropy, AdamW.
Row decoder_step(int batch, int length, int rounds) {
  Decoder<B> model(DecoderConfig{});
  const auto list = parameters(model);
  auto optimizer = AdamW{}.on(list);
  // A prompt of one token: every other token is predicted.
  const Batch data =
      numbered(random_sequences(batch, 1, 50257, 1), random_sequences(batch, length, 50257, 2));
  std::vector<double> total, forward, backward, update;
  Tape<B> tape;
  for (int r = 0; r < rounds + 1; ++r) {
    const double t0 = bench::now();
    Context<B> context{.tape = &tape, .training = true};
    const auto loss = objective_loss(CrossEntropy{}, context, model, static_cast<const Decoder<B>*>(nullptr),
                                     data, Normaliser::of(data.responses));
    const double t1 = bench::now();
    tape.backward(loss.value);
    const double t2 = bench::now();
    optimizer.step();
    const double t3 = bench::now();
    if (r == 0) continue;
    total.push_back(t3 - t0), forward.push_back(t1 - t0), backward.push_back(t2 - t1),
        update.push_back(t3 - t2);
  }
  Row row{fmt::format("gpt2-124M train step {} x {}", batch, length), bench::median(total),
          6.0 * static_cast<double>(parameter_count(list)) * batch * length};
  row.parts = {{"forward and head", bench::median(forward)},
               {"backward", bench::median(backward)},
               {"update", bench::median(update)}};
  return row;
}

/// T5-small's shape: batch x (source -> target).
Row encoder_decoder_step(int batch, int source, int target, int rounds) {
  EncoderDecoder<B, T5> model(EncoderDecoderConfig{});
  const auto list = parameters(model);
  auto optimizer = AdamW{}.on(list);
  const Batch data =
      numbered(random_sequences(batch, source, 32128, 1), random_sequences(batch, target, 32128, 2));
  std::vector<double> total;
  Tape<B> tape;
  for (int r = 0; r < rounds + 1; ++r) {
    const double t0 = bench::now();
    Context<B> context{.tape = &tape, .training = true};
    const auto loss =
        objective_loss(CrossEntropy{}, context, model, static_cast<const EncoderDecoder<B, T5>*>(nullptr),
                       data, Normaliser::of(data.responses));
    tape.backward(loss.value);
    optimizer.step();
    if (r > 0) total.push_back(bench::now() - t0);
  }
  // Encoder weights see the source tokens, decoder weights and head the target tokens.
  double encoder = 0, decoder = 0;
  for (const auto* p : list) {
    const bool in_encoder = p->name.starts_with("encoder.");
    (in_encoder ? encoder : decoder) += static_cast<double>(p->value.size());
    if (p->name.ends_with("cross.kv.weight"))
      decoder -= static_cast<double>(p->value.size()), encoder += static_cast<double>(p->value.size());
  }
  return {fmt::format("t5-small train step {} x ({} -> {})", batch, source, target), bench::median(total),
          6.0 * batch * (encoder * source + decoder * target)};
}

/// One on-policy GKD step and its shares: student of 6 layers, teacher of 12, JSD(0.5), AdamW.
Row gkd_step(int batch, int prompt, int fresh, int rounds) {
  Decoder<B> teacher(DecoderConfig{}), student(DecoderConfig{.layers = 6});
  const auto list = parameters(student);
  auto optimizer = AdamW{}.on(list);
  const Batch prompts =
      numbered(random_sequences(batch, prompt, 50257, 1), random_sequences(batch, 1, 50257, 2));
  std::vector<double> total, sampling, student_part, teacher_part, update;
  Tape<B> tape;
  Index tokens = 0;
  for (int r = 0; r < rounds + 1; ++r) {
    const double t0 = bench::now();
    Batch data = prompts;
    data.responses =
        generate(student, prompts.prompts, prompts.ids, Temperature{},
                 {.max_tokens = fresh, .end_token = 50256, .key = {7, static_cast<std::uint64_t>(r)}})
            .responses;
    tokens = data.responses.total();
    const double t1 = bench::now();
    Context<B> silent;
    const auto teacher_hidden = teacher.hidden(silent, data.prompts, data.responses);
    const double t2 = bench::now();
    Context<B> context{.tape = &tape, .training = true};
    const auto weights =
        row_weights<B>(data.responses, Reduction::per_sequence, Normaliser::of(data.responses));
    const auto hidden = student.hidden(context, data.prompts, data.responses);
    const auto loss = head_divergence(context, Jsd{0.5}, student.head(), hidden, teacher.head(),
                                      teacher_hidden.value(), weights);
    tape.backward(loss.value);
    const double t3 = bench::now();
    optimizer.step();
    const double t4 = bench::now();
    if (r == 0) continue;
    total.push_back(t4 - t0), sampling.push_back(t1 - t0), teacher_part.push_back(t2 - t1);
    student_part.push_back(t3 - t2), update.push_back(t4 - t3);
  }
  const double ns = static_cast<double>(parameter_count(list)),
               nt = static_cast<double>(parameter_count(parameters(teacher)));
  const double all = static_cast<double>(batch) * prompt + static_cast<double>(tokens);
  Row row{fmt::format("on-policy GKD step {} x ({} + {}), 82M from 124M", batch, prompt, fresh),
          bench::median(total), 2 * ns * all + 2 * nt * all + 6 * ns * all};
  row.parts = {{"generate", bench::median(sampling)},
               {"teacher", bench::median(teacher_part)},
               {"student and both heads", bench::median(student_part)},
               {"update", bench::median(update)}};
  return row;
}

/// One MiniLLM step (the paper's setting, teacher-mixed sampling) beside one on-policy GKD step on as many
/// tokens, in turns, same models as `gkd_step`.
Row minillm_row(int batch, int prompt, int fresh, int rounds) {
  Decoder<B> teacher(DecoderConfig{}), student(DecoderConfig{.layers = 6});
  const auto list = parameters(student);
  auto optimizer = AdamW{.learning_rate = 1e-6}.on(list);
  const Batch prompts =
      numbered(random_sequences(batch, prompt, 50257, 1), random_sequences(batch, 1, 50257, 2));
  const Gkd<ReverseKl, FromStudent> gkd{.max_tokens = fresh, .end_token = 50256};
  MiniLlm<> minillm = minillm::paper();
  minillm.corpus = CorpusLoss::none;
  std::vector<double> of_gkd, decoding, sampling, update, total;
  Index tokens = 0;
  for (int r = 0; r < rounds + 1; ++r) {
    const RandomKey key{7, static_cast<std::uint64_t>(r)};
    const GenerateOptions options{.max_tokens = fresh, .end_token = 50256, .key = key};
    const double t0 = bench::now();
    (void)training_step(gkd, student, &teacher, optimizer, prompts, key);
    const double t1 = bench::now();
    (void)generate(teacher, prompts.prompts, prompts.ids, Temperature{}, options);
    const double t2 = bench::now();
    const Rollouts rollouts = roll_out(student, teacher, prompts, minillm.sampling, options);
    tokens = rollouts.samples.responses.total();
    const double t3 = bench::now();
    (void)minillm_step(minillm, student, teacher, optimizer, rollouts, nullptr, key);
    const double t4 = bench::now();
    if (r == 0) continue;
    of_gkd.push_back(t1 - t0), decoding.push_back(t2 - t1), sampling.push_back(t3 - t2);
    update.push_back(t4 - t3), total.push_back(t4 - t2);
  }
  const double ns = static_cast<double>(parameter_count(list)),
               nt = static_cast<double>(parameter_count(parameters(teacher)));
  const double all = static_cast<double>(batch) * prompt + static_cast<double>(tokens);
  Row row{fmt::format("MiniLLM step {} x ({} + {}), 82M from 124M", batch, prompt, fresh),
          bench::median(total), 2 * ns * all + 4 * nt * all + 6 * ns * all};
  row.parts = {{"mixed sampling", bench::median(sampling)},
               {"update", bench::median(update)},
               {"for comparison: GKD step", bench::median(of_gkd)},
               {"for comparison: the teacher's decoding", bench::median(decoding)}};
  return row;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times training steps at real sizes and prints their share of the machine's fp32 peak.");
  std::vector<std::string> work{"gpt2", "t5-small", "gkd", "minillm"};
  int rounds = 5, batch = 4, length = 64;
  std::string json_file;
  app.add_option("--work", work, "what to time: gpt2, t5-small, gkd, minillm")
      ->check(CLI::IsMember({"gpt2", "t5-small", "gkd", "minillm"}))
      ->delimiter(',');
  app.add_option("--rounds", rounds, "timed steps (after one that is not)")->capture_default_str();
  app.add_option("--batch", batch, "sequences of the gpt2 step")->capture_default_str();
  app.add_option("--length", length, "tokens a sequence of the gpt2 step")->capture_default_str();
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("step", app, argc, argv, [&] {
    const double peak = bench::peak_flops<float>();
    fmt::print("retort {}, {}, {} threads, fp32 FMA peak {:.0f} GFLOP/s\n\n", version, bench::cpu_name(),
               thread_count(), peak / 1e9);
    fmt::print("{:<48} {:>9} {:>10} {:>8} {:>12}\n", "work", "seconds", "GFLOP/s", "share", "peak memory");
    nlohmann::json out = {{"cpu", bench::cpu_name()},
                          {"threads", thread_count()},
                          {"peak_gflops", peak / 1e9},
                          {"rows", nlohmann::json::array()}};
    for (const auto& w : work) {
      const Row row = w == "gpt2"       ? decoder_step(batch, length, rounds)
                      : w == "t5-small" ? encoder_decoder_step(8, 128, 64, rounds)
                      : w == "minillm"  ? minillm_row(8, 28, 64, rounds)
                                        : gkd_step(8, 28, 64, rounds);
      const double peak_now = bench::peak_flops<float>(0.1), reference = std::max(peak, peak_now);
      fmt::print("{:<48} {:>9.3f} {:>10.1f} {:>7.1f}% {:>9.2f} GB\n", row.work, row.seconds,
                 row.flops / row.seconds / 1e9, 100 * row.flops / row.seconds / reference,
                 bench::peak_resident_bytes() / 1e9);
      for (const auto& [name, seconds] : row.parts.items())
        fmt::print("    {:<44} {:>9.3f} {:>18.1f}%\n", name, seconds.get<double>(),
                   100 * seconds.get<double>() / row.seconds);
      out["rows"].push_back({{"work", row.work},
                             {"seconds", row.seconds},
                             {"gflops", row.flops / row.seconds / 1e9},
                             {"share_of_peak", row.flops / row.seconds / reference},
                             {"parts", row.parts}});
      Pool<CpuDevice>::instance().trim();
    }
    if (!json_file.empty()) {
      std::ofstream file(json_file);
      file << out.dump(2) << '\n';
      if (!file) {
        fmt::print(stderr, "{}: cannot be written\n", json_file);
        return 2;
      }
    }
    return 0;
  });
}
