// Every divergence against its definition, on random rows of logits.
#include <limits>

#include "catch.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Value and gradient agree to `tolerance`, relative to the larger of 1 and their size.
void check_equal(const Outcome& given, const Outcome& right, double tolerance) {
  CHECK(difference(std::vector{given.value}, std::vector{right.value}) <= tolerance);
  CHECK(difference(given.gradient, right.gradient) <= tolerance);
}

}  // namespace

TEST_CASE("every divergence and its gradient equal the definition on random logits") {
  each_divergence([](const auto& divergence) {
    for (const Index vocabulary : {1, 2, 7, 16, 33})
      for (const double temperature : {0.7, 1.0, 2.0}) {
        INFO(summary(divergence) << ", " << vocabulary << " tokens, temperature " << temperature);
        const auto student = normals<double>(vocabulary, 1, 2), teacher = normals<double>(vocabulary, 2, 2);
        const Outcome right = by_definition(divergence, student, teacher, temperature);
        check_equal(by_library<double>(divergence, student, teacher, temperature), right, 1e-8);
        check_equal(by_library<float>(divergence, student, teacher, temperature), right, 3e-6);
      }
  });
}

TEST_CASE("divergences of close distributions keep their digits") {
  each_divergence([](const auto& divergence) {
    for (const double distance : {1e-3, 1e-2, 0.1}) {
      INFO(summary(divergence) << " at distance " << distance);
      const auto teacher = normals<double>(50, 3, 2);
      auto student = teacher;
      const auto noise = normals<double>(50, 4, distance);
      for (std::size_t v = 0; v < student.size(); ++v) student[v] += noise[v];
      const double right = by_definition(divergence, student, teacher).value;
      CHECK(std::abs(by_library<double>(divergence, student, teacher).value / right - 1) <= 1e-10);
    }
  });
}

TEST_CASE("entries that only one vocabulary has count as probability 0") {
  each_divergence([](const auto& divergence) {
    INFO(summary(divergence));
    const auto student = normals<double>(21, 5), teacher = normals<double>(21, 6);
    const std::vector<double> student_16(student.begin(), student.begin() + 16);
    const std::vector<double> teacher_16(teacher.begin(), teacher.begin() + 16);
    const Outcome right = by_definition(divergence, student_16, teacher_16);
    check_equal(by_library<double>(divergence, student_16, teacher), right, 1e-8);  // a padded teacher
    Outcome given = by_library<double>(divergence, student, teacher_16);            // a padded student
    for (std::size_t v = 16; v < 21; ++v) CHECK(given.gradient[v] == 0);
    given.gradient.resize(16);
    check_equal(given, right, 1e-8);
  });
}

TEST_CASE("tokens that both models exclude by -inf change nothing") {
  each_divergence([](const auto& divergence) {
    INFO(summary(divergence));
    auto student = normals<double>(19, 7), teacher = normals<double>(19, 8);
    const std::vector<double> student_17(student.begin(), student.begin() + 17);
    const std::vector<double> teacher_17(teacher.begin(), teacher.begin() + 17);
    student[17] = student[18] = teacher[17] = teacher[18] = -infinity;
    kernels::row_loss(CpuDevice{}, divergence, {1, 19, 19, 1.0, true}, student.data(), teacher.data(),
                      std::vector{1.0}.data(), std::vector<double>(1).data());
    const Outcome right = by_definition(divergence, student_17, teacher_17);
    for (std::size_t v = 0; v < 17; ++v) CHECK(student[v] == Approx(right.gradient[v]).margin(1e-9));
    CHECK(student[17] == 0);
    CHECK(student[18] == 0);
  });
}

TEST_CASE("a token of probability 0 on one side alone gives the limit where that is finite") {
  const double low = -60;  // stands for -inf in the definition: probability 1e-26
  const auto compare = [&](const auto& divergence, bool teacher_has_it) {
    INFO(summary(divergence) << (teacher_has_it ? ", excluded by the student" : ", excluded by the teacher"));
    auto student = normals<double>(9, 9), teacher = normals<double>(9, 10);
    (teacher_has_it ? student : teacher)[4] = low;
    const Outcome right = by_definition(divergence, student, teacher);
    (teacher_has_it ? student : teacher)[4] = -infinity;
    std::vector<double> loss(1), gradient = student;
    kernels::row_loss(CpuDevice{}, divergence, {1, 9, 9, 1.0, true}, gradient.data(), teacher.data(),
                      std::vector{1.0}.data(), loss.data());
    CHECK(loss[0] == Approx(right.value).epsilon(1e-9));
    for (std::size_t v = 0; v < 9; ++v) CHECK(gradient[v] == Approx(right.gradient[v]).margin(1e-8));
  };
  compare(ForwardKl{}, false);  // 0 log 0
  compare(ReverseKl{}, true);
  for (const bool side : {false, true}) {
    compare(Jsd{0.1}, side);
    compare(Jsd{0.5}, side);
    compare(NormalisedJsd{0.5}, side);
    compare(TotalVariation{}, side);
    compare(SkewForwardKl{0.1}, side);
    compare(SkewReverseKl{0.1}, side);
  }
}

TEST_CASE("where a divergence is infinite it is +inf, not NaN") {
  const auto value = [](const auto& divergence, bool teacher_has_it) {
    auto student = normals<double>(9, 9), teacher = normals<double>(9, 10);
    (teacher_has_it ? student : teacher)[4] = -infinity;
    std::vector<double> loss(1);
    kernels::row_loss(CpuDevice{}, divergence, {1, 9, 9, 1.0, false}, student.data(), teacher.data(),
                      std::vector{1.0}.data(), loss.data());
    return loss[0];
  };
  CHECK(value(ForwardKl{}, true) == infinity);
  CHECK(value(ReverseKl{}, false) == infinity);
  CHECK(value(SymmetricKl{}, true) == infinity);
  CHECK(value(SymmetricKl{}, false) == infinity);
}

TEST_CASE("no divergence of nearly equal rows is negative in float") {
  each_divergence([](const auto& divergence) {
    double lowest = infinity;
    for (const Index vocabulary : {2, 17, 100, 5000})
      for (const double size : {1.0, 5.0, 20.0})
        for (const double distance : {0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1}) {
          auto student = normals<float>(vocabulary, 11, size), teacher = student;
          const auto noise = normals<float>(vocabulary, 12, distance);
          for (std::size_t v = 0; v < noise.size(); ++v) teacher[v] += noise[v];
          std::vector<double> loss(1);
          kernels::row_loss(CpuDevice{}, divergence, {1, vocabulary, vocabulary, 1.0, false}, student.data(),
                            teacher.data(), std::vector{1.0f}.data(), loss.data());
          lowest = std::min(lowest, loss[0]);
        }
    INFO(summary(divergence));
    CHECK(lowest >= -1e-7);
  });
}

TEST_CASE(
    "the Jensen-Shannon divergence tends to both Kullback-Leibler divergences, its normalised form too") {
  const auto student = normals<double>(30, 13), teacher = normals<double>(30, 14);
  const Outcome forward = by_library<double>(ForwardKl{}, student, teacher);
  const Outcome reverse = by_library<double>(ReverseKl{}, student, teacher);
  const double b = 1e-6;
  const auto check_limit = [&](Outcome given, double factor, const Outcome& limit) {
    given.value *= factor;
    for (double& g : given.gradient) g *= factor;
    check_equal(given, limit, 1e-5);
  };
  check_limit(by_library<double>(Jsd{b}, student, teacher), 1 / b, forward);
  check_limit(by_library<double>(Jsd{1 - b}, student, teacher), 1 / b, reverse);
  check_limit(by_library<double>(NormalisedJsd{b}, student, teacher), 1, forward);
  check_limit(by_library<double>(NormalisedJsd{1 - b}, student, teacher), 1, reverse);

  double before = by_library<double>(NormalisedJsd{0.01}, student, teacher).value;
  for (double beta = 0.02; beta < 0.995; beta += 0.01) {
    const double here = by_library<double>(NormalisedJsd{beta}, student, teacher).value;
    CHECK(std::abs(here - before) < 0.05 * before);
    before = here;
  }
}

TEST_CASE("JSD(1/2) is symmetric and at most log 2; beta and 1 - beta exchange the models") {
  const auto a = normals<double>(30, 15, 6), b = normals<double>(30, 16, 6);
  const auto jsd = [](double beta, const std::vector<double>& x, const std::vector<double>& y) {
    return by_library<double>(Jsd{beta}, x, y).value;
  };
  CHECK(jsd(0.5, a, b) == Approx(jsd(0.5, b, a)).epsilon(1e-12));
  CHECK(jsd(0.2, a, b) == Approx(jsd(0.8, b, a)).epsilon(1e-12));
  CHECK(jsd(0.5, {100, 0}, {0, 100}) == Approx(std::log(2.0)).epsilon(1e-12));
  CHECK(jsd(0.5, a, b) < std::log(2.0));
}
