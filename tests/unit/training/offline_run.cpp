// Runs from a teacher's file, compared with runs that ask the teacher itself.
#include "retort/training/offline_run.hpp"

#include <csignal>

#include "catch.hpp"
#include "folder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/offline_teacher.hpp"
#include "retort/training/run.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;
using Numbers = std::vector<double>;

namespace {

const RunOptions six_steps{.steps = 6, .batch_size = 4, .clip_norm = 0.5, .checkpoint_every = 2};

/// A student of tiny_decoder's kind trained in `path` for as many steps as `options` say; its weights.
Numbers trained(const std::filesystem::path& path, const TeacherFile& file, const Batch& data,
                const RunOptions& options, const Gkd<ReverseKl, FromData>& recipe = {},
                const std::function<nlohmann::json()>& evaluate = {}) {
  auto student = tiny_decoder<D>(1);
  auto optimizer = AdamW{.learning_rate = 1e-2}.on(parameters(student));
  RunFolder folder(path);
  (void)run_offline(folder, recipe, student, file, optimizer, data, options, {}, evaluate);
  return weights(parameters(student));
}

}  // namespace

TEST_CASE("with all of the teacher's tokens a run from its file is the run with the teacher") {
  const Folder folder("offline_run_");
  const auto teacher = tiny_decoder<D>(2);
  const Batch data = tiny_batch(10);
  write_teacher_file(folder / "teacher", teacher, data, {.info = {.k = 11, .dtype = "F32"}});
  const TeacherFile file(folder / "teacher");

  auto student = tiny_decoder<D>(1);
  auto optimizer = AdamW{.learning_rate = 1e-2}.on(parameters(student));
  RunFolder with_teacher(folder / "with_teacher");
  (void)run_training(with_teacher, Gkd<ReverseKl, FromData>{}, student, &teacher, optimizer, data, six_steps);
  const Numbers right = weights(parameters(student));
  CHECK(difference(trained(folder / "whole", file, data, six_steps), right) <= 1e-5);

  RunOptions micro = six_steps;
  micro.micro_batch = 3;
  CHECK(difference(trained(folder / "micro", file, data, micro), right) <= 1e-5);
  // What the mean loss was is in the metrics, step by step.
  const auto there = with_teacher.metrics(), here = RunFolder(folder / "whole").metrics();
  REQUIRE(here.size() == there.size());
  for (std::size_t i = 0; i < here.size(); ++i)
    CHECK(here[i]["mean"].get<double>() == Approx(there[i]["mean"].get<double>()).epsilon(1e-4));
}

TEST_CASE("a run from a teacher's file that was stopped goes on to the same bits, and with no other file") {
  const Folder folder("offline_run_");
  const auto teacher = tiny_decoder<D>(2), other = tiny_decoder<D>(3);
  const Batch data = tiny_batch(10);
  write_teacher_file(folder / "teacher", teacher, data, {.info = {.k = 3}});
  write_teacher_file(folder / "other", other, data, {.info = {.k = 3}});
  const TeacherFile file(folder / "teacher"), other_file(folder / "other");
  CHECK(file.checksum() == TeacherFile(folder / "teacher").checksum());
  CHECK(file.checksum() != other_file.checksum());

  const Numbers whole = trained(folder / "whole", file, data, six_steps);
  int evaluations = 0;
  RunOptions evaluated = six_steps;
  evaluated.evaluate_every = 2;
  const auto stop_once = [&] {
    if (++evaluations == 1) std::raise(SIGTERM);
    return nlohmann::json::object();
  };
  CHECK(trained(folder / "parts", file, data, evaluated, {}, stop_once) != whole);
  CHECK(message_of<FileError>([&] {
          (void)trained(folder / "parts", other_file, data, evaluated);
        }).find("inputs.teacher.checksum is ") != std::string::npos);
  CHECK(trained(folder / "parts", file, data, evaluated) == whole);
}

TEST_CASE("a run is refused before its first step if the teacher's file is of other data or temperature") {
  const Folder folder("offline_run_");
  const auto teacher = tiny_decoder<D>(2);
  const Batch data = tiny_batch(10);
  write_teacher_file(folder / "teacher", teacher, data.slice(0, 9), {.info = {.k = 3}});
  const TeacherFile file(folder / "teacher");
  CHECK_THROWS_WITH((void)trained(folder / "run", file, data, six_steps),
                    Catch::Matchers::Contains("has no example"));
  Gkd<ReverseKl, FromData> warm;
  warm.options.temperature = 2;
  CHECK_THROWS_AS((void)trained(folder / "run", file, data.slice(0, 9), six_steps, warm), ValueError);
  CHECK_FALSE(std::filesystem::exists(folder.path / "run" / "checkpoint.safetensors"));
}
