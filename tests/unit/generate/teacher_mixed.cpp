#include "retort/generate/teacher_mixed.hpp"

#include <map>

#include "catch.hpp"
#include "four_tokens.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;
using D = Cpu<double>;

namespace {

constexpr GenerateOptions options{.max_tokens = 7, .end_token = 1, .key = {8, 9}};

template <class S>
MixedSamples samples(const auto& student, const auto& teacher, const Batch& batch, const TeacherMixed<S>& how,
                     const GenerateOptions& o = options) {
  return generate_mixed(student, teacher, batch.prompts, batch.ids, how, o);
}

template <class Student, class Teacher>
void check_models(const Student& student, const Teacher& teacher) {
  const Batch batch = tiny_batch(30);
  const MixedSamples mixed = samples(student, teacher, batch, TeacherMixed<>{.alpha = 0.3});
  // log-probabilities of the samples are those of the forward pass, and of the mixture
  const auto log_q = response_log_probabilities(student, batch.prompts, mixed.responses);
  const auto log_p = response_log_probabilities(teacher, batch.prompts, mixed.responses);
  for (std::size_t t = 0; t < log_q.size(); ++t) {
    REQUIRE(mixed.log_student[t] == Approx(log_q[t]).epsilon(1e-10));
    REQUIRE(mixed.log_teacher[t] == Approx(log_p[t]).epsilon(1e-10));
    REQUIRE(mixed.log_draw[t] ==
            Approx(std::log(0.3 * std::exp(log_p[t]) + 0.7 * std::exp(log_q[t]))).epsilon(1e-10));
  }
  // at the ends it is one model's sampling
  const auto own = [&](const auto& model) {
    return generate(model, batch.prompts, batch.ids, Temperature{}, options).responses;
  };
  CHECK(samples(student, teacher, batch, TeacherMixed<>{.alpha = 0}).responses == own(student));
  CHECK(samples(student, teacher, batch, TeacherMixed<>{.alpha = 1}).responses == own(teacher));
  CHECK_FALSE(mixed.responses == own(student));
  // a sample does not depend on its batch
  for (int i = 0; i < batch.size(); i += 7) {
    const Batch one = batch.slice(i, i + 1);
    CHECK(list(samples(student, teacher, one, TeacherMixed<>{.alpha = 0.3}).responses[0]) ==
          list(mixed.responses[i]));
  }
}

}  // namespace

TEST_CASE("teacher-mixed samples know their probabilities and are the models' own at the ends") {
  check_models(tiny_decoder<D>(1), tiny_decoder<D>(2));
  check_models(tiny_t5<D>(1), tiny_t5<D>(2));
  check_models(tiny_decoder<D>(1), tiny_t5<D>(2));
}

TEST_CASE("mixed responses come as often as the enumeration says") {
  const auto student = four_token_decoder<D>(1), teacher = four_token_decoder<D>(2);
  const Enumeration all;
  const auto log_q = all.token_logs(student), log_p = all.token_logs(teacher);
  std::vector<double> log_mixture;
  for (std::size_t t = 0; t < log_q.size(); ++t)
    log_mixture.push_back(std::log(0.4 * std::exp(log_p[t]) + 0.6 * std::exp(log_q[t])));
  const auto expected = all.sums(log_mixture);

  constexpr int draws = 20000;
  Batch many;
  for (int i = 0; i < draws; ++i) many.push_back(all.batch.prompts[0], Ids{}, static_cast<std::uint64_t>(i));
  const auto mixed = samples(student, teacher, many, TeacherMixed<>{.alpha = 0.4},
                             {.max_tokens = 3, .end_token = enumeration_end, .key = {1, 2}});
  std::map<Ids, int> count;
  for (int i = 0; i < draws; ++i) ++count[list(mixed.responses[i])];
  double chi_square = 0;
  for (int i = 0; i < all.size(); ++i) {
    const double often = draws * std::exp(expected[static_cast<std::size_t>(i)]);
    const double off = count[list(all.batch.responses[i])] - often;
    chi_square += off * off / often;
  }
  CHECK(count.size() == static_cast<std::size_t>(all.size()));
  CHECK(chi_square < 95);  // 39 degrees of freedom: exceeded once in a million times
}

TEST_CASE("filters act on the mixture, and importance weights know it") {
  const auto student = tiny_decoder<D>(1), teacher = tiny_decoder<D>(2);
  const Batch batch = tiny_batch(20);
  const TeacherMixed<Filters<TopK>> how{.alpha = 0.5, .sampler = Filters{TopK{2}}};
  const auto mixed = samples(student, teacher, batch, how);
  const auto q = response_logits(student, batch.prompts, mixed.responses).to_host();
  const auto p = response_logits(teacher, batch.prompts, mixed.responses).to_host();
  for (std::size_t t = 0; t < mixed.log_draw.size(); ++t) {
    double sum_p = 0, sum_q = 0;
    for (std::size_t v = 0; v < 11; ++v) sum_p += std::exp(p[t * 11 + v]), sum_q += std::exp(q[t * 11 + v]);
    std::vector<double> m;
    for (std::size_t v = 0; v < 11; ++v)
      m.push_back(0.5 * std::exp(p[t * 11 + v]) / sum_p + 0.5 * std::exp(q[t * 11 + v]) / sum_q);
    const double own = m[static_cast<std::size_t>(mixed.responses.tokens[t])];
    std::ranges::sort(m, std::greater{});
    REQUIRE(own >= m[1] - 1e-12);
    REQUIRE(mixed.log_draw[t] == Approx(std::log(own / (m[0] + m[1]))).epsilon(1e-9));
  }
}

TEST_CASE("models with vocabularies of different size mix over what both have") {
  auto wide = tiny_decoder_config();
  wide.vocabulary = 14;
  const auto student = tiny_decoder<F>(1, wide), teacher = tiny_decoder<F>(2);
  const auto mixed = samples(student, teacher, tiny_batch(40), TeacherMixed<>{.alpha = 0.1});
  CHECK(std::ranges::all_of(mixed.responses.tokens, [](auto t) { return t < 11; }));
}

TEST_CASE("a share out of range is refused") {
  const auto model = tiny_decoder<F>(1);
  const auto said = [&](double alpha) {
    return message_of<ValueError>(
        [&] { (void)samples(model, model, tiny_batch(2), TeacherMixed<>{.alpha = alpha}); });
  };
  for (const double alpha : {1.1, -0.1})
    CHECK(said(alpha) == fmt::format("[teacher_mixed] alpha, the teacher's share, must lie in [0, 1]; given "
                                     "teacher_mixed(alpha {}, sampler temperature(temperature 1))",
                                     alpha));
  CHECK(message_of<ValueError>(
            [&] { (void)samples(model, model, tiny_batch(2), TeacherMixed<>{.sampler = {.value = 0}}); }) ==
        "[teacher_mixed] the value must be a number above 0 (Greedy is the limit at 0); given "
        "teacher_mixed(alpha 0.2, sampler temperature(temperature 0))");
}
