#include "retort/kernels/cpu/row_loss.hpp"

#include <limits>

#include "catch.hpp"
#include "numbers.hpp"
#include "plain_kl.hpp"

using namespace retort;
using namespace retort::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

/// log softmax of the first `n` numbers of z / temperature.
std::vector<double> log_softmax(const auto* z, Index n, double temperature) {
  double high = -infinity, total = 0;
  for (Index i = 0; i < n; ++i) high = std::max(high, static_cast<double>(z[i]) / temperature);
  for (Index i = 0; i < n; ++i) total += std::exp(static_cast<double>(z[i]) / temperature - high);
  std::vector<double> y;
  for (Index i = 0; i < n; ++i) y.push_back(static_cast<double>(z[i]) / temperature - high - std::log(total));
  return y;
}

/// Loss of a row and weight * its gradient, as the formula sheet defines them.
struct Row {
  double loss = 0;
  std::vector<double> gradient;
};

template <class T, class Divergence>
Row expected_row(const Divergence& d, const T* student, Index vs, const T* teacher, Index vt, double weight,
                 double temperature) {
  Row r{0, std::vector<double>(static_cast<std::size_t>(vs))};
  if (weight == 0) return r;
  const Index common = std::min(vs, vt);
  const auto log_q = log_softmax(student, common, temperature),
             log_p = log_softmax(teacher, common, temperature);
  double pulled = 0;
  for (std::size_t v = 0; v < log_q.size(); ++v) {
    r.loss += d.term(log_p[v], log_q[v]);
    pulled += d.pull(log_p[v], log_q[v]);
  }
  for (std::size_t v = 0; v < log_q.size(); ++v)
    r.gradient[v] = weight * (d.pull(log_p[v], log_q[v]) - std::exp(log_q[v]) * pulled) / temperature;
  return r;
}

constexpr Index sizes[] = {1, 2, 7, 17, 31, 64, 100, 333};

}  // namespace

TEMPLATE_TEST_CASE("row_loss gives the golden values of forward and reverse KL, and their gradients", "",
                   float, double) {
  using T = TestType;
  const std::vector<T> zs{T(1), T(0), T(-1), T(0.5)}, zt{T(0), T(1), T(0.5), T(-2)};
  const double tolerance = sizeof(T) == 4 ? 3e-7 : 6e-10;  // nine digits are given
  const auto run = [&](auto divergence, double temperature, double value, std::vector<double> gradient) {
    auto student = zs, teacher = zt;
    const T weight = 1;
    double loss = 0;
    kernels::row_loss(CpuDevice{}, divergence, {1, 4, 4, temperature, true}, student.data(), teacher.data(),
                      &weight, &loss);
    CHECK(loss == Approx(value).margin(tolerance));
    CHECK(test::difference(student, gradient) <= tolerance);
  };
  run(TeacherToStudent{}, 1, 0.741646483, {0.292249933, -0.319651533, -0.235492423, 0.262894023});
  run(StudentToTeacher{}, 1, 0.880728675, {0.036913088, -0.335163409, -0.155373570, 0.453623891});
  run(TeacherToStudent{}, 2, 0.246428112, {0.065343999, -0.081534173, -0.082474379, 0.098664552});
}

TEMPLATE_TEST_CASE("row_loss equals equation (1) for all vocabularies, weights and temperatures", "", float,
                   double) {
  using T = TestType;
  const Index rows = 5;
  const std::vector<T> weight{T(1), T(0), T(-0.5), T(3), T(0.01)};
  const auto run = [&](auto divergence) {
    for (const Index v : sizes)
      for (const Index more : {-3, 0, 5})  // the teacher's vocabulary is smaller, equal, larger
        for (const double temperature : {1., 0.5, 2.5}) {
          const Index vt = std::max<Index>(1, v + more);
          CAPTURE(v, vt, temperature);
          auto student = test::normals<T>(rows * v, 1, 2), teacher = test::normals<T>(rows * vt, 2, 2);
          const auto zs = student, zt = teacher;
          std::vector<double> loss(rows, 7.0);
          kernels::row_loss(CpuDevice{}, divergence, {rows, v, vt, temperature, true}, student.data(),
                            teacher.data(), weight.data(), loss.data());
          for (Index r = 0; r < rows; ++r) {
            const auto row = static_cast<std::size_t>(r);
            const auto want = expected_row(divergence, zs.data() + r * v, v, zt.data() + r * vt, vt,
                                           static_cast<double>(weight[row]), temperature);
            CHECK(loss[row] == Approx(want.loss).margin(test::rounding<T>(16)));
            const std::vector<T> gradient(student.begin() + r * v, student.begin() + (r + 1) * v);
            CHECK(test::difference(gradient, want.gradient) <= 20 * test::rounding<T>(64));
          }
        }
  };
  run(TeacherToStudent{});
  run(StudentToTeacher{});
}

TEMPLATE_TEST_CASE("without the gradient row_loss reads the student's logits and leaves them", "", float,
                   double) {
  using T = TestType;
  auto student = test::normals<T>(3 * 37, 1), teacher = test::normals<T>(3 * 37, 2);
  const auto zs = student, zt = teacher;
  const std::vector<T> weight{T(1), T(0), T(2)};
  std::vector<double> loss(3), with_gradient(3);
  kernels::row_loss(CpuDevice{}, TeacherToStudent{}, {3, 37, 37, 1, false}, student.data(), teacher.data(),
                    weight.data(), loss.data());
  CHECK(student == zs);
  teacher = zt;
  kernels::row_loss(CpuDevice{}, TeacherToStudent{}, {3, 37, 37, 1, true}, student.data(), teacher.data(),
                    weight.data(), with_gradient.data());
  CHECK(loss == with_gradient);
  CHECK(student != zs);
}

TEMPLATE_TEST_CASE("a row of weight 0 is not looked at: NaN in it gives loss 0 and gradient 0", "", float,
                   double) {
  using T = TestType;
  std::vector<T> student(2 * 9, not_a_number<T>), teacher(2 * 9, not_a_number<T>);
  const auto good = test::normals<T>(18, 1);
  std::copy(good.begin(), good.begin() + 9, student.begin() + 9);
  std::copy(good.begin() + 9, good.end(), teacher.begin() + 9);
  const std::vector<T> weight{T(0), T(1)};
  std::vector<double> loss(2, -1.0);
  kernels::row_loss(CpuDevice{}, TeacherToStudent{}, {2, 9, 9, 1, true}, student.data(), teacher.data(),
                    weight.data(), loss.data());
  CHECK(loss[0] == 0);
  CHECK(std::count(student.begin(), student.begin() + 9, T(0)) == 9);
  CHECK(std::isfinite(loss[1]));

  std::vector<T> logits(2 * 9, not_a_number<T>);
  std::copy(good.begin(), good.begin() + 9, logits.begin() + 9);
  const std::vector<std::int32_t> target{-100, 3};  // an ignored target need not be a token
  kernels::cross_entropy(CpuDevice{}, 2, 9, logits.data(), target.data(), weight.data(), true, loss.data());
  CHECK(loss[0] == 0);
  CHECK(std::count(logits.begin(), logits.begin() + 9, T(0)) == 9);
  CHECK(std::isfinite(loss[1]));
}

TEMPLATE_TEST_CASE("one NaN logit of either model makes the loss NaN", "", float, double) {
  using T = TestType;
  const auto run = [](auto divergence) {
    for (const Index v : sizes)
      for (const Index where : {Index{0}, v / 2, v - 1})
        for (const bool of_teacher : {false, true}) {
          CAPTURE(v, where, of_teacher);
          auto student = test::normals<T>(v, 1), teacher = test::normals<T>(v, 2);
          (of_teacher ? teacher : student)[static_cast<std::size_t>(where)] = not_a_number<T>;
          const T weight = 1;
          double loss = 0;
          kernels::row_loss(CpuDevice{}, divergence, {1, v, v, 1, true}, student.data(), teacher.data(),
                            &weight, &loss);
          CHECK(std::isnan(loss));
          CHECK(std::isnan(student[0]));
        }
  };
  run(TeacherToStudent{});
  run(StudentToTeacher{});
}

TEMPLATE_TEST_CASE("one NaN or +inf logit makes the cross-entropy NaN", "", float, double) {
  using T = TestType;
  for (const Index v : sizes)
    for (const Index where : {Index{0}, v / 2, v - 1})
      for (const T bad : {not_a_number<T>, std::numeric_limits<T>::infinity()}) {
        auto logits = test::normals<T>(v, 1);
        logits[static_cast<std::size_t>(where)] = bad;
        const T weight = 1;
        const std::int32_t target = 0;
        double loss = 0;
        kernels::cross_entropy(CpuDevice{}, 1, v, logits.data(), &target, &weight, true, &loss);
        CHECK(!std::isfinite(loss));
      }
}

TEMPLATE_TEST_CASE("-inf logits are probability 0: finite loss and gradient where both models have them", "",
                   float, double) {
  using T = TestType;
  const T low = -std::numeric_limits<T>::infinity();
  const Index v = 21;
  auto student = test::normals<T>(v, 1), teacher = test::normals<T>(v, 2);
  auto short_student = student, short_teacher = teacher;
  short_student.resize(11), short_teacher.resize(11);
  std::fill(student.begin() + 11, student.end(), low);
  std::fill(teacher.begin() + 11, teacher.end(), low);
  const T weight = 1;
  const auto run = [&](auto divergence) {
    auto zs = student, zt = teacher, short_zs = short_student, short_zt = short_teacher;
    double loss = 0, short_loss = 0;
    kernels::row_loss(CpuDevice{}, divergence, {1, v, v, 1, true}, zs.data(), zt.data(), &weight, &loss);
    kernels::row_loss(CpuDevice{}, divergence, {1, 11, 11, 1, true}, short_zs.data(), short_zt.data(),
                      &weight, &short_loss);
    CHECK(loss == Approx(short_loss).margin(test::rounding<T>()));
    short_zs.resize(static_cast<std::size_t>(v), T(0));
    CHECK(test::difference(zs, short_zs) <= test::rounding<T>());
  };
  run(TeacherToStudent{});
  run(StudentToTeacher{});

  // Where the teacher has probability and the student none, KL(p || q) is infinite.
  auto zt = teacher;
  zt[15] = T(1);
  auto zs = student;
  double loss = 0;
  kernels::row_loss(CpuDevice{}, TeacherToStudent{}, {1, v, v, 1, true}, zs.data(), zt.data(), &weight,
                    &loss);
  CHECK(loss == infinity);
  // KL(q || p) asks nothing of the teacher where the student has no probability.
  zt = teacher;
  zt[15] = T(1);
  zs = student;
  kernels::row_loss(CpuDevice{}, StudentToTeacher{}, {1, v, v, 1, true}, zs.data(), zt.data(), &weight,
                    &loss);
  CHECK(std::isfinite(loss));
}

TEMPLATE_TEST_CASE("cross_entropy equals its definition, its gradient softmax minus one-hot", "", float,
                   double) {
  using T = TestType;
  const Index rows = 4;
  const std::vector<T> weight{T(1), T(-0.5), T(0), T(0.25)};
  for (const Index v : sizes)
    for (const double offset : {0., 80.}) {
      CAPTURE(v, offset);
      auto logits = test::normals<T>(rows * v, 1, 3);
      for (T& z : logits) z += static_cast<T>(offset);
      const auto z = logits;
      const auto target = test::indices(rows, v, 3);
      std::vector<double> loss(rows);
      kernels::cross_entropy(CpuDevice{}, rows, v, logits.data(), target.data(), weight.data(), false,
                             loss.data());
      CHECK(logits == z);
      kernels::cross_entropy(CpuDevice{}, rows, v, logits.data(), target.data(), weight.data(), true,
                             loss.data());
      std::vector<double> want;
      for (Index r = 0; r < rows; ++r) {
        const auto row = static_cast<std::size_t>(r);
        const auto log_q = log_softmax(z.data() + r * v, v, 1);
        const auto y = static_cast<std::size_t>(target[row]);
        const double w = static_cast<double>(weight[row]);
        CHECK(loss[row] == Approx(w == 0 ? 0 : -log_q[y]).margin(test::rounding<T>(4)));
        for (std::size_t i = 0; i < log_q.size(); ++i)
          want.push_back(w * (std::exp(log_q[i]) - (i == y ? 1 : 0)));
      }
      CHECK(test::difference(logits, want) <= test::rounding<T>(4));
    }
}

TEMPLATE_TEST_CASE("token_log_probabilities are log softmax of logits / temperature", "", float, double) {
  using T = TestType;
  const Index rows = 6;
  for (const Index v : sizes)
    for (const double temperature : {1., 0.3, 4.}) {
      const auto logits = test::normals<T>(rows * v, 1, 3);
      const auto token = test::indices(rows, v, 3);
      std::vector<T> given(rows);
      kernels::token_log_probabilities(CpuDevice{}, rows, v, logits.data(), token.data(), temperature,
                                       given.data());
      std::vector<double> want;
      for (Index r = 0; r < rows; ++r)
        want.push_back(
            log_softmax(logits.data() + r * v, v,
                        temperature)[static_cast<std::size_t>(token[static_cast<std::size_t>(r)])]);
      CHECK(test::difference(given, want) <= test::rounding<T>(4));
    }
}

TEMPLATE_TEST_CASE("the loss of a vocabulary of 50,257 keeps its digits", "", float, double) {
  using T = TestType;
  const Index v = 50'257;
  auto student = test::normals<T>(v, 1, 2), teacher = test::normals<T>(v, 2, 2);
  const T weight = 1;
  const auto want = expected_row(TeacherToStudent{}, student.data(), v, teacher.data(), v, 1, 1);
  double loss = 0;
  kernels::row_loss(CpuDevice{}, TeacherToStudent{}, {1, v, v, 1, true}, student.data(), teacher.data(),
                    &weight, &loss);
  CHECK(loss == Approx(want.loss).epsilon(sizeof(T) == 4 ? 1e-6 : 1e-13));
  double total = 0;  // a gradient to logits sums to 0
  for (const T g : student) total += static_cast<double>(g);
  CHECK(total == Approx(0).margin(sizeof(T) == 4 ? 1e-6 : 1e-14));
}

TEMPLATE_TEST_CASE("row losses give the same bits on any number of threads", "", float, double) {
  using T = TestType;
  const Index rows = 300, v = 70;
  const auto weight = test::normals<T>(rows, 5);
  const auto target = test::indices(rows, v, 6);
  CHECK(test::same_on_any_thread_count([&] {
    auto student = test::normals<T>(rows * v, 1), teacher = test::normals<T>(rows * v, 2), logits = student;
    std::vector<double> loss(rows), entropy(rows);
    kernels::row_loss(CpuDevice{}, StudentToTeacher{}, {rows, v, v, 1, true}, student.data(), teacher.data(),
                      weight.data(), loss.data());
    kernels::cross_entropy(CpuDevice{}, rows, v, logits.data(), target.data(), weight.data(), true,
                           entropy.data());
    for (const T x : student) loss.push_back(static_cast<double>(x));
    for (const T x : logits) loss.push_back(static_cast<double>(x));
    loss.insert(loss.end(), entropy.begin(), entropy.end());
    return loss;
  }));
}
