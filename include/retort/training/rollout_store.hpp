#pragma once

#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/clock.hpp"
#include "retort/data/batches.hpp"
#include "retort/distill/rollouts.hpp"
#include "retort/io/batch_tensors.hpp"

namespace retort {

/// Sizes of a run's phases: sample `rollouts` responses, then `inner_epochs` passes over them in updates of
/// `batch`.
struct Phases {
  int rollouts = 256;
  int inner_epochs = 4;
  int batch = 64;
  int sampling_batch = 64;  ///< responses that are decoded together; changes memory and speed alone
};

/// Samples that serve several updates: when to sample, which to use next, and what of it a checkpoint keeps.
/// The order is drawn from seed and phase by the counter-based generator.
class RolloutStore {
 public:
  /// `prompts` and its ids stay those of the data. Throws ValueError for sizes that do not fit each other,
  /// and for a store beyond this machine's memory: `longest` is that of a response.
  RolloutStore(const char* op, const Batch& prompts, const Phases& phases, Index longest, std::uint64_t seed)
      : phases_(checked(op, prompts, phases, longest)),
        prompts_(prompts, {.seed = seed, .batch_size = phases.rollouts}),
        seed_(seed) {}

  /// Updates between two samplings.
  [[nodiscard]] Index updates() const {
    return Index{phases_.rollouts / phases_.batch} * phases_.inner_epochs;
  }
  /// Updates since the samples of update `step` were drawn.
  [[nodiscard]] Index age(Index step) const { return step % updates(); }

  /// The samples of update `step`. At the first update of a phase all of them are drawn by `sample(key,
  /// prompts)`, which returns Rollouts; `seconds` receives the time that took, else 0.
  template <class Sample>
  [[nodiscard]] Rollouts next(Index step, Sample sample, double& seconds) {
    const Index batches = phases_.rollouts / phases_.batch, phase = step / updates(),
                update = step % updates();
    const double began = steady_seconds();
    if (update == 0) roll_out_phase(phase, sample);
    seconds = update == 0 ? steady_seconds() - began : 0;
    const auto order =
        epoch_order(seed_ + 2, static_cast<std::uint64_t>(phase * phases_.inner_epochs + update / batches),
                    phases_.rollouts);
    const auto first = order.begin() + update % batches * phases_.batch;
    return rollouts_.select(std::vector<int>(first, first + phases_.batch));
  }

  /// Adds the samples to a checkpoint.
  void save(SafetensorsWriter& writer) const {
    save_batch(writer, "method/rollouts", rollouts_.samples);
    const auto add = [&](const char* name, const std::vector<double>& values) {
      writer.add(std::string("method/rollouts.") + name, Shape{std::ssize(values)}, values);
    };
    add("log_student", rollouts_.log_student), add("log_teacher", rollouts_.log_teacher);
    add("log_draw", rollouts_.log_draw);
  }

  /// Reads them back; FileError if they do not fit together.
  void restore(const SafetensorsFile& file) {
    Rollouts read{load_batch(file, "method/rollouts"), file.read<double>("method/rollouts.log_student"),
                  file.read<double>("method/rollouts.log_teacher"),
                  file.read<double>("method/rollouts.log_draw")};
    const auto tokens = static_cast<std::size_t>(read.samples.responses.total());
    if (read.log_student.size() != tokens || read.log_teacher.size() != tokens ||
        read.log_draw.size() != tokens)
      fail<FileError>("load", "'{}': the rollouts have {} tokens and {}, {} and {} probabilities",
                      file.path().string(), tokens, read.log_student.size(), read.log_teacher.size(),
                      read.log_draw.size());
    rollouts_ = std::move(read);
  }

 private:
  Phases phases_;
  Batches prompts_;
  std::uint64_t seed_;
  Rollouts rollouts_;

  static const Phases& checked(const char* op, const Batch& prompts, const Phases& p, Index longest) {
    if (p.rollouts < 1 || p.inner_epochs < 1 || p.sampling_batch < 1)
      fail<ValueError>(op, "{} rollouts, {} inner epochs, {} sampled together: expected at least 1 of each",
                       p.rollouts, p.inner_epochs, p.sampling_batch);
    if (p.batch < 1 || p.rollouts % p.batch != 0)
      fail<ValueError>(op, "{} rollouts are no multiple of the batch size {}", p.rollouts, p.batch);
    // tokens of prompt and response, and three numbers a response token
    const double each = 4.0 * prompts.prompts.longest() + 28.0 * static_cast<double>(longest);
    const double memory =
        static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
    if (p.rollouts * each > memory)
      fail<ValueError>(
          op,
          "{} rollouts of up to {} prompt tokens (4 bytes each) and {} response tokens (28 bytes each) are "
          "{:.1f} GB; this machine has {:.1f} GB of memory",
          p.rollouts, prompts.prompts.longest(), longest, p.rollouts * each / 1e9, memory / 1e9);
    return p;
  }

  template <class Sample>
  void roll_out_phase(Index phase, Sample sample) {
    const RandomKey key = RandomKey{seed_, 0x726f6c6c}.fork(static_cast<std::uint64_t>(phase));
    const Batch prompts = prompts_.at(phase);
    Rollouts all;
    for (int first = 0; first < prompts.size(); first += phases_.sampling_batch) {
      Batch part = prompts.slice(first, std::min(prompts.size(), first + phases_.sampling_batch));
      // A prompt may come twice in a phase: its place in the phase names its sample.
      const std::vector<std::uint64_t> ids = part.ids;
      for (int i = 0; i < part.size(); ++i)
        part.ids[static_cast<std::size_t>(i)] = static_cast<std::uint64_t>(first + i);
      Rollouts sampled = sample(key, part);
      sampled.samples.ids = ids;
      all.append(sampled);
    }
    rollouts_ = std::move(all);
  }
};

}  // namespace retort
