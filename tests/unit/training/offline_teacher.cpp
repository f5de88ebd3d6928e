// Teacher files made from models, and training steps' losses read from them.
#include "retort/training/offline_teacher.hpp"

#include "catch.hpp"
#include "folder.hpp"
#include "retort/io/teacher_file.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

template <class Model>
void check_file(const Model& student, const Model& teacher) {
  const Folder folder("offline");
  const auto path = folder / "teacher";
  Batch data = tiny_batch(13);
  data.push_back(Ids{3, 4}, Ids{}, 77);
  int done = 0;
  OfflineTeacherOptions options{.info = {.k = 4, .dtype = "F32"}, .batch_size = 5};
  options.progress = [&](int examples) { done += examples; };
  write_teacher_file(path, teacher, data, options);
  CHECK(done == 14);
  options.batch_size = 1;
  write_teacher_file(path, teacher, data, options);
  CHECK(TeacherFile(path).data() == data);

  const TeacherFile file(path);
  CHECK(file.info().vocabulary == 11);
  file.require(data);
  const Batch batch = data.select(std::vector{13, 4, 9});
  const auto exact = sparse_targets(teacher, batch, 4), stored = file.targets(batch);
  CHECK(stored.ids == exact.ids);
  CHECK(difference(stored.log_p, exact.log_p) <= 1e-6);
  CHECK(difference(stored.log_tail, exact.log_tail) <= 1e-6);
  for (const auto& divergence : {AnyDivergence{ForwardKl{}}, AnyDivergence{ReverseKl{}}})
    std::visit(
        [&](const auto& d) {
          CHECK(mean_sparse_divergence(d, student, batch, stored) ==
                Approx(mean_sparse_divergence(d, student, batch, exact)).epsilon(1e-6));
        },
        divergence);
}

}  // namespace

TEST_CASE("a file of a teacher has its targets, for a decoder and an encoder-decoder") {
  check_file(tiny_decoder<D>(1), tiny_decoder<D>(2));
  check_file(tiny_t5<D>(1), tiny_t5<D>(2));
}

TEST_CASE("a file of a teacher's own samples holds them, the same for any batch size") {
  const Folder folder("offline");
  const auto teacher = tiny_decoder<D>(2);
  const Batch prompts = tiny_batch(9);
  const GenerateOptions sampling{.max_tokens = 6, .end_token = 1, .key = {3, 4}};
  const auto want = generate(teacher, prompts.prompts, prompts.ids, Temperature{}, sampling).responses;
  for (const int size : {1, 4, 100}) {
    const auto path = folder / "teacher";
    write_teacher_file(path, teacher, prompts, Temperature{}, sampling,
                       {.info = {.k = 3}, .batch_size = size});
    const TeacherFile file(path);
    const Batch data = file.data();
    CHECK(data.prompts == prompts.prompts);
    CHECK(data.responses == want);
    CHECK(data.ids == prompts.ids);
    CHECK(file.targets(data).ids == sparse_targets(teacher, data, 3).ids);
  }
}

TEST_CASE("a teacher file that cannot be made leaves the old one") {
  const Folder folder("offline");
  const auto path = folder / "teacher";
  auto teacher = tiny_decoder<D>(2);
  const Batch data = tiny_batch(6);
  write_teacher_file(path, teacher, data, {.info = {.k = 3}});
  const std::string before = contents(path);
  CHECK_THROWS_AS(write_teacher_file(path, teacher, data, {.info = {.k = 12}}), ValueError);
  CHECK_THROWS_AS(write_teacher_file(path, teacher, data, {.info = {.k = 3}, .batch_size = 0}), ValueError);
  for (Index i = 0; i < parameters(teacher)[0]->value.size(); ++i)
    parameters(teacher)[0]->value.data()[i] = std::nan("");
  CHECK_THROWS_AS(write_teacher_file(path, teacher, data, {.info = {.k = 3}}), NumericError);
  CHECK(contents(path) == before);
  CHECK(folder.files() == 1);
}
