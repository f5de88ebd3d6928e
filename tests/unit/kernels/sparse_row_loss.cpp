#include "retort/kernels/cpu/sparse_row_loss.hpp"

#include <limits>
#include <set>

#include "catch.hpp"
#include "numbers.hpp"
#include "plain_kl.hpp"
#include "retort/kernels/cpu/row_loss.hpp"
#include "retort/kernels/cpu/top_k.hpp"

using namespace retort;
using namespace retort::test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// k different tokens of a row, not in order.
std::vector<std::int32_t> some_tokens(Index k, Index vocabulary, std::uint64_t stream) {
  std::vector<std::int32_t> out;
  std::set<std::int32_t> used;
  for (const auto candidate : test::indices(200 * vocabulary, vocabulary, stream))
    if (std::ssize(out) < k && used.insert(candidate).second) out.push_back(candidate);
  return out;
}

/// What the teacher's file holds of a row of logits, in long double.
struct Known {
  std::vector<std::int32_t> ids;
  std::vector<long double> p;
  long double tail = 0;
};
Known known(const auto& logits, Index vocabulary, const std::vector<std::int32_t>& ids) {
  Known out{ids, {}, 0};
  long double total = 0;
  for (Index v = 0; v < vocabulary; ++v) total += std::exp((long double)(logits[std::size_t(v)]));
  for (const auto id : ids) out.p.push_back(std::exp((long double)(logits[std::size_t(id)])) / total);
  for (Index v = 0; v < vocabulary; ++v)
    if (std::ranges::find(ids, v) == ids.end()) out.tail += std::exp((long double)(logits[std::size_t(v)]));
  out.tail /= total;
  return out;
}

/// KL of the outcomes, by definition: q of K and the sum of all other q.
long double by_definition(const std::vector<long double>& z, Index vocabulary, const Known& teacher,
                          long double temperature, bool student_to_teacher) {
  std::vector<long double> q(std::size_t(vocabulary), 0);
  long double total = 0, sum = 0, tail = 0;
  for (std::size_t v = 0; v < q.size(); ++v) total += q[v] = std::exp(z[v] / temperature);
  const auto term = [&](long double p, long double s) {
    if (student_to_teacher) return s > 0 ? s * std::log(s / p) : 0;
    return p > 0 ? p * std::log(p / s) : 0;
  };
  for (std::size_t i = 0; i < teacher.ids.size(); ++i)
    sum += term(teacher.p[i], q[std::size_t(teacher.ids[i])] / total);
  for (Index v = 0; v < vocabulary; ++v)
    if (std::ranges::find(teacher.ids, v) == teacher.ids.end()) tail += q[std::size_t(v)] / total;
  return sum + (tail > 0 ? term(teacher.tail, tail) : 0);
}

/// A call with one row.
template <class T>
struct Call {
  std::vector<T> logits;
  double loss = 0;
};
template <class T, class Divergence>
Call<T> call(const Divergence& divergence, std::vector<T> student, const Known& teacher, Index vocabulary,
             double temperature = 1, bool gradient = true, T weight = T(1)) {
  std::vector<T> log_p;
  for (const auto p : teacher.p) log_p.push_back(static_cast<T>(std::log(p)));
  const T log_tail = static_cast<T>(std::log(teacher.tail));
  Call<T> out{std::move(student)};
  kernels::sparse_row_loss(
      CpuDevice{}, divergence,
      {1, std::ssize(out.logits), vocabulary, std::ssize(teacher.ids), temperature, gradient},
      out.logits.data(), teacher.ids.data(), log_p.data(), &log_tail, &weight, &out.loss);
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("sparse_row_loss and its gradient equal the definition, also with a padded student", "",
                   float, double) {
  using T = TestType;
  for (const Index v : {1, 2, 7, 17, 40, 100})
    for (const Index k : {1, 2, 5, 16, 100}) {
      if (k > v) continue;
      for (const Index more : {0, 3})  // logits that only the student has
        for (const double temperature : {1., 0.6, 2.}) {
          CAPTURE(v, k, more, temperature);
          const auto student = test::normals<T>(v + more, 1, 2);
          const Known teacher = known(test::normals<double>(v, 2, 2), v, some_tokens(k, v, 3));
          const auto check = [&](auto divergence, bool reverse) {
            const auto got = call(divergence, student, teacher, v, temperature, true, T(0.5));
            std::vector<long double> z(student.begin(), student.end());
            const auto at = [&] { return by_definition(z, v, teacher, temperature, reverse); };
            CHECK(got.loss == Approx(double(at())).margin(test::rounding<T>(16)));
            std::vector<double> gradient;
            for (auto& x : z) {
              const long double was = x, h = 1e-5L;
              x = was + h;
              const long double high = at();
              x = was - h;
              gradient.push_back(double((high - at()) / (4 * h)));
              x = was;
            }
            CHECK(test::difference(got.logits, gradient) <= test::rounding<T>(64) + 1e-9);
            for (Index i = v; i < v + more; ++i) CHECK(got.logits[std::size_t(i)] == 0);
          };
          check(TeacherToStudent{}, false);
          check(StudentToTeacher{}, true);
        }
    }
}

TEMPLATE_TEST_CASE("with all tokens of the teacher sparse_row_loss is row_loss", "", float, double) {
  using T = TestType;
  for (const Index v : {1, 3, 33, 70}) {
    auto student = test::normals<T>(v, 1), teacher = test::normals<T>(v, 2);
    const Known all = known(teacher, v, some_tokens(v, v, 3));
    CHECK(all.tail == 0);
    const auto sparse = call(TeacherToStudent{}, student, all, v);
    const T weight = 1;
    double loss = 0;
    kernels::row_loss(CpuDevice{}, TeacherToStudent{}, {1, v, v, 1, true}, student.data(), teacher.data(),
                      &weight, &loss);
    CHECK(sparse.loss == Approx(loss).margin(test::rounding<T>(4)));
    CHECK(test::difference(sparse.logits, student) <= test::rounding<T>(16));
  }
}

TEMPLATE_TEST_CASE("a tail that the student hardly has keeps its digits", "", float, double) {
  using T = TestType;
  // The known token has all but exp(-30) (float: 1 - sum q is 0 long before) or exp(-60) (double).
  const Index v = 50;
  const double gap = sizeof(T) == 4 ? 30 : 60;
  std::vector<T> student = test::normals<T>(v, 1);
  student[7] = static_cast<T>(gap + 4);
  std::vector<double> teacher(std::size_t(v), 0);
  teacher[7] = 4;
  const Known one = known(teacher, v, {7});
  std::vector<long double> z(student.begin(), student.end());
  for (const bool reverse : {false, true}) {
    const double want = double(by_definition(z, v, one, 1, reverse));
    const auto got =
        reverse ? call(StudentToTeacher{}, student, one, v) : call(TeacherToStudent{}, student, one, v);
    CHECK(got.loss == Approx(want).epsilon(4 * test::rounding<T>()));
    if (reverse) continue;
    // p_T of the bucket's gradient goes to the others as q divides it: -p_T q_j / q_T, and they sum to it.
    double others = 0;
    for (Index i = 0; i < v; ++i)
      if (i != 7) {
        others += double(got.logits[std::size_t(i)]);
        long double tail = 0;
        for (Index j = 0; j < v; ++j)
          if (j != 7) tail += std::exp(z[std::size_t(j)] - z[std::size_t(i)]);
        CHECK(got.logits[std::size_t(i)] == Approx(double(-one.tail / tail)).epsilon(1e-5));
      }
    CHECK(others == Approx(double(-one.tail)).epsilon(1e-5));
  }
}

TEMPLATE_TEST_CASE("the loss is the same for logits that are all moved, however far", "", float, double) {
  using T = TestType;
  const Index v = 30;
  const auto student = test::normals<T>(v, 1, 3);
  const Known teacher = known(test::normals<double>(v, 2, 3), v, some_tokens(4, v, 3));
  const auto here = call(StudentToTeacher{}, student, teacher, v);
  for (const double far : {-1000., 1000.}) {
    auto moved = student;
    for (T& z : moved) z += static_cast<T>(far);
    const auto there = call(StudentToTeacher{}, moved, teacher, v);
    CHECK(there.loss == Approx(here.loss).epsilon(sizeof(T) == 4 ? 3e-4 : 1e-12));  // z has fewer digits
    CHECK(test::difference(there.logits, here.logits) <= (sizeof(T) == 4 ? 3e-4 : 1e-12));
  }
}

TEMPLATE_TEST_CASE("without the gradient the student's logits are as before", "", float, double) {
  using T = TestType;
  const auto student = test::normals<T>(40, 1);
  const Known teacher = known(test::normals<double>(37, 2), 37, some_tokens(5, 37, 3));
  const auto read = call(TeacherToStudent{}, student, teacher, 37, 1, false);
  CHECK(read.logits == student);
  CHECK(read.loss == call(TeacherToStudent{}, student, teacher, 37).loss);
}

TEMPLATE_TEST_CASE("a row of weight 0 is not looked at; elsewhere a NaN is a NaN loss", "", float, double) {
  using T = TestType;
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  const Known teacher = known(test::normals<double>(20, 2), 20, {3, 19});
  const auto ignored = call(TeacherToStudent{}, std::vector<T>(20, nan), teacher, 20, 1, true, T(0));
  CHECK(ignored.loss == 0);
  CHECK(ignored.logits == std::vector<T>(20, T(0)));
  for (const std::size_t where : {0, 3, 10, 19}) {
    auto student = test::normals<T>(20, 1);
    student[where] = nan;
    CHECK(std::isnan(call(TeacherToStudent{}, student, teacher, 20).loss));
    CHECK(std::isnan(call(StudentToTeacher{}, student, teacher, 20).logits[0]));
  }
}

TEMPLATE_TEST_CASE("empty tails, of either model or both", "", float, double) {
  using T = TestType;
  const T low = -std::numeric_limits<T>::infinity();
  const std::vector<T> student = test::normals<T>(9, 1);
  std::vector<T> narrow(9, low);  // a student that has the known tokens alone
  narrow[2] = student[2], narrow[5] = student[5];
  Known teacher = known(test::normals<double>(9, 2), 9, {2, 5}), certain = teacher;
  const long double two = teacher.p[0] + teacher.p[1];
  certain.p = {teacher.p[0] / two, teacher.p[1] / two};
  certain.tail = 0;

  // Neither has a tail: the two tokens alone.
  const double log_ratio = double(narrow[2]) - double(narrow[5]);
  const long double q = 1 / (1 + std::exp(-(long double)(log_ratio)));
  const double right =
      double(certain.p[0] * std::log(certain.p[0] / q) + certain.p[1] * std::log(certain.p[1] / (1 - q)));
  const auto both = call(TeacherToStudent{}, narrow, certain, 9);
  CHECK(both.loss == Approx(right).margin(test::rounding<T>(4)));
  CHECK(both.logits[2] == Approx(double(q - certain.p[0])).margin(test::rounding<T>(4)));
  CHECK(both.logits[5] == Approx(double(certain.p[0] - q)).margin(test::rounding<T>(4)));
  for (const std::size_t i : {0, 1, 3, 8}) CHECK(both.logits[i] == 0);

  // The teacher alone has none: fine for KL(p || q), infinite for KL(q || p), as for the whole rows.
  const auto p = call(TeacherToStudent{}, student, certain, 9);
  std::vector<long double> z(student.begin(), student.end());
  CHECK(p.loss == Approx(double(by_definition(z, 9, certain, 1, false))).margin(test::rounding<T>(4)));
  for (const T g : p.logits) CHECK(std::isfinite(g));
  CHECK(call(StudentToTeacher{}, student, certain, 9).loss == infinity);

  // The student alone has none: the other way round.
  const auto s = call(StudentToTeacher{}, narrow, teacher, 9);
  CHECK(std::isfinite(s.loss));
  for (const T g : s.logits) CHECK(std::isfinite(g));
  CHECK(call(TeacherToStudent{}, narrow, teacher, 9).loss == infinity);
}

TEMPLATE_TEST_CASE("top_k_log_probabilities are the first k of the sorted row, and the rest together", "",
                   float, double) {
  using T = TestType;
  const Index rows = 3;
  for (const Index v : {1, 2, 9, 64, 150, 1000})
    for (const Index k : {1, 2, 9, 64, 100, 1000})
      for (const bool ties : {false, true}) {
        if (k > v) continue;
        CAPTURE(v, k, ties);
        const Index columns = v + 2;  // two more logits that do not count, the largest of all
        auto logits = test::normals<T>(rows * columns, 1, 3);
        for (Index i = 0; i < rows * columns; ++i) {
          T& z = logits[std::size_t(i)];
          if (ties) z = std::round(z);
          if (i % columns >= v) z = T(100);
        }
        const auto z = logits;
        std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * k));
        std::vector<T> log_p(ids.size()), log_tail(rows);
        kernels::top_k_log_probabilities(CpuDevice{}, {rows, columns, v, k, 1.5}, logits.data(), ids.data(),
                                         log_p.data(), log_tail.data());
        for (Index r = 0; r < rows; ++r) {
          std::vector<std::int32_t> order(static_cast<std::size_t>(v));
          for (std::size_t i = 0; i < order.size(); ++i) order[i] = std::int32_t(i);
          const T* row = z.data() + r * columns;
          std::ranges::stable_sort(order, [&](auto a, auto b) { return row[a] > row[b]; });
          long double total = 0, tail = 0;
          for (Index i = 0; i < v; ++i) total += std::exp((long double)(row[i]) / 1.5L);
          for (std::size_t i = 0; i < order.size(); ++i) {
            const long double p = std::exp((long double)(row[order[i]]) / 1.5L) / total;
            if (Index(i) >= k) tail += p;
            if (Index(i) >= k) continue;
            REQUIRE(ids[std::size_t(r * k) + i] == order[i]);
            REQUIRE(log_p[std::size_t(r * k) + i] ==
                    Approx(double(std::log(p))).margin(test::rounding<T>(8)));
          }
          if (k == v)
            CHECK(log_tail[std::size_t(r)] == -std::numeric_limits<T>::infinity());
          else
            CHECK(log_tail[std::size_t(r)] == Approx(double(std::log(tail))).margin(test::rounding<T>(8)));
        }
      }
}

TEMPLATE_TEST_CASE("top_k_log_probabilities of logits that are no numbers are NaN, -inf is probability 0", "",
                   float, double) {
  using T = TestType;
  const T low = -std::numeric_limits<T>::infinity();
  const auto run = [](std::vector<T> logits, Index k) {
    const Index v = std::ssize(logits);
    std::vector<std::int32_t> ids(std::size_t(k), -1);
    std::vector<T> numbers(std::size_t(k) + 1);
    kernels::top_k_log_probabilities(CpuDevice{}, {1, v, v, k, 1.}, logits.data(), ids.data(), numbers.data(),
                                     numbers.data() + k);
    for (const auto id : ids) CHECK((id >= 0 && id < v));
    return numbers;
  };
  for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()})
    for (const std::size_t where : {0, 3, 50, 99}) {
      auto logits = test::normals<T>(100, 1);
      logits[where] = bad;
      for (const T x : run(logits, 7)) CHECK(std::isnan(x));
    }
  std::vector<T> two(100, low);
  two[40] = two[70] = T(1);
  const auto numbers = run(two, 3);
  CHECK(numbers[0] == Approx(std::log(0.5)));
  CHECK(numbers[1] == Approx(std::log(0.5)));
  CHECK(numbers[2] == low);
  CHECK(numbers[3] == low);
}

TEMPLATE_TEST_CASE("sparse row losses give the same bits on any number of threads", "", float, double) {
  using T = TestType;
  const Index rows = 300, v = 70, k = 9;
  const auto weight = test::normals<T>(rows, 5);
  CHECK(test::same_on_any_thread_count([&] {
    auto student = test::normals<T>(rows * v, 1), teacher = test::normals<T>(rows * v, 2);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * k));
    std::vector<T> log_p(ids.size()), log_tail(rows);
    kernels::top_k_log_probabilities(CpuDevice{}, {rows, v, v, k, 1.}, teacher.data(), ids.data(),
                                     log_p.data(), log_tail.data());
    std::vector<double> all(rows);
    kernels::sparse_row_loss(CpuDevice{}, StudentToTeacher{}, {rows, v, v, k, 1, true}, student.data(),
                             ids.data(), log_p.data(), log_tail.data(), weight.data(), all.data());
    for (const T x : student) all.push_back(static_cast<double>(x));
    for (const T x : log_p) all.push_back(static_cast<double>(x));
    return all;
  }));
}
