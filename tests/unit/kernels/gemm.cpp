#include "retort/kernels/cpu/gemm.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;
using kernels::Op;

namespace {

/// A product to compute: sizes, how much wider than needed the rows are, and the two factors.
struct Case {
  Op op_a, op_b;
  Index m, n, k;
  double alpha, beta;
  Index spare = 0;
};

/// Result of the kernel and of three loops in double, C with the elements between its rows.
template <class T>
struct Results {
  std::vector<T> given;
  std::vector<double> expected;
};

template <class T>
Results<T> multiply(const Case& c) {
  const bool ta = c.op_a == Op::transpose, tb = c.op_b == Op::transpose;
  const Index lda = (ta ? c.m : c.k) + c.spare, ldb = (tb ? c.k : c.n) + c.spare, ldc = c.n + c.spare;
  const auto a = test::normals<T>((ta ? c.k : c.m) * lda, 1), b = test::normals<T>((tb ? c.n : c.k) * ldb, 2);
  Results<T> r{test::normals<T>(c.m * ldc, 3), {}};
  r.expected.assign(r.given.begin(), r.given.end());
  const auto at = [](const auto& x, Index i) { return static_cast<double>(x[static_cast<std::size_t>(i)]); };
  for (Index i = 0; i < c.m; ++i)
    for (Index j = 0; j < c.n; ++j) {
      double sum = 0;
      for (Index l = 0; l < c.k; ++l)
        sum += at(a, ta ? l * lda + i : i * lda + l) * at(b, tb ? j * ldb + l : l * ldb + j);
      double& out = r.expected[static_cast<std::size_t>(i * ldc + j)];
      out = c.alpha * sum + c.beta * out;
      if (c.beta == 0)  // must not be read
        r.given[static_cast<std::size_t>(i * ldc + j)] = std::numeric_limits<T>::quiet_NaN();
    }
  kernels::gemm(CpuDevice{}, c.op_a, c.op_b, c.m, c.n, c.k, static_cast<T>(c.alpha), a.data(), lda, b.data(),
                ldb, static_cast<T>(c.beta), r.given.data(), ldc);
  return r;
}

constexpr Op both[] = {Op::none, Op::transpose};

}  // namespace

TEMPLATE_TEST_CASE("gemm equals three loops for all transpositions and sizes", "", float, double) {
  const Index sizes[] = {1, 7, 17, 31, 64, 100};
  for (const Op op_a : both)
    for (const Op op_b : both)
      for (const Index m : sizes)
        for (const Index n : sizes)
          for (const Index k : sizes) {
            const auto r = multiply<TestType>({op_a, op_b, m, n, k, 1, 0});
            const double error = test::difference(r.given, r.expected);
            if (error > test::rounding<TestType>(static_cast<double>(k)) * 3) {
              CAPTURE(m, n, k, op_a == Op::transpose, op_b == Op::transpose);
              CHECK(error == 0);
            }
          }
  SUCCEED();
}

TEMPLATE_TEST_CASE("gemm scales, accumulates, and touches nothing between the rows of C", "", float, double) {
  for (const Op op_a : both)
    for (const Op op_b : both)
      for (const double alpha : {1., -0.5, 0.})
        for (const double beta : {0., 1., 0.25})
          for (const Index size : {1, 7, 33}) {
            CAPTURE(op_a == Op::transpose, op_b == Op::transpose, alpha, beta, size);
            const auto r = multiply<TestType>({op_a, op_b, size, size + 2, size + 5, alpha, beta, 3});
            CHECK(test::difference(r.given, r.expected) <= test::rounding<TestType>(38));
          }
}

TEMPLATE_TEST_CASE("gemm with beta 0 never reads C: NaN there does not survive, even without a sum", "",
                   float, double) {
  for (const Op op_a : both)
    for (const Op op_b : both)
      for (const Index k : {0, 1, 9}) {
        CAPTURE(op_a == Op::transpose, op_b == Op::transpose, k);
        const auto r = multiply<TestType>({op_a, op_b, 5, 6, k, 1, 0});
        CHECK(test::difference(r.given, r.expected) <= test::rounding<TestType>(9));
      }
}

TEMPLATE_TEST_CASE("gemm of no rows, no columns or no sum", "", float, double) {
  CHECK(multiply<TestType>({Op::none, Op::none, 0, 5, 3, 1, 0}).given.empty());
  const auto r = multiply<TestType>({Op::none, Op::none, 4, 0, 3, 1, 1, 2});
  CHECK(test::difference(r.given, r.expected) == 0);
  const auto no_sum = multiply<TestType>({Op::none, Op::transpose, 4, 5, 0, 1, 1});
  CHECK(test::difference(no_sum.given, no_sum.expected) == 0);
}

// A library may round otherwise on another number of threads; retort's own products may not.
#if defined(RETORT_GEMM_CBLAS) || defined(RETORT_GEMM_EIGEN)
constexpr bool own = false;
#else
constexpr bool own = true;
#endif

TEMPLATE_TEST_CASE("gemm does not depend on the number of threads", "", float, double) {
  for (const Op op_a : both)
    for (const Op op_b : both)
      for (const auto& [m, n, k] : {std::array<Index, 3>{67, 131, 59},
                                    {256, 300, 200},
                                    {1, 1000, 500},
                                    {3, 777, 129},
                                    {17, 2100, 401},   // more columns than all threads share at a time
                                    {1100, 50, 800},   // more rows, and two depths
                                    {40, 45, 1200},    // few results, many terms
                                    {1030, 1031, 33},  // both sides
                                    {1, 700, 301},     // few rows of a large weight
                                    {7, 500, 300},
                                    {16, 333, 403}}) {
        CAPTURE(op_a == Op::transpose, op_b == Op::transpose, m, n, k);
        const auto on = [&, m = m, n = n, k = k](int threads) {
          const test::Threads scope(threads);
          return multiply<TestType>({op_a, op_b, m, n, k, 1 / std::sqrt(static_cast<double>(k)), 1});
        };
        const auto one = on(1);
        const double tolerance = test::rounding<TestType>(static_cast<double>(k)) / 2;
        CHECK(test::difference(one.given, one.expected) <= tolerance);
        for (const int threads : {1, 2, 3}) {
          const auto many = on(threads);
          CHECK(test::difference(many.given, one.expected) <= tolerance);
          if (own || threads == 1) CHECK(many.given == one.given);
        }
      }
}

#if !defined(RETORT_GEMM_CBLAS) && !defined(RETORT_GEMM_EIGEN)
TEMPLATE_TEST_CASE("an element of a product does not depend on where it stands", "", float, double) {
  const Index m = 70, n = 190, k = 500, part_m = 13, part_n = 29;
  const auto a = test::normals<TestType>(m * k, 1), b = test::normals<TestType>(k * n, 2);
  std::vector<TestType> whole(static_cast<std::size_t>(m * n)),
      part(static_cast<std::size_t>(part_m * part_n));
  const auto multiply = [&](Index rows, Index columns, Index row, Index column, TestType* c) {
    kernels::gemm(CpuDevice{}, Op::none, Op::none, rows, columns, k, TestType(1), a.data() + row * k, k,
                  b.data() + column, n, TestType(0), c, columns);
  };
  multiply(m, n, 0, 0, whole.data());
  for (const Index row : {0, 5, 57})
    for (const Index column : {0, 11, 161}) {
      multiply(part_m, part_n, row, column, part.data());
      for (Index i = 0; i < part_m; ++i)
        for (Index j = 0; j < part_n; ++j)
          REQUIRE(part[static_cast<std::size_t>(i * part_n + j)] ==
                  whole[static_cast<std::size_t>((row + i) * n + column + j)]);
    }
}

TEMPLATE_TEST_CASE("a row of a product does not depend on how many rows there are, whichever way is taken",
                   "", float, double) {
  struct Size {
    Index n, k;
  };
  constexpr Index most = 70;
  for (const auto [n, k] :
       {Size{384, 384}, Size{768, 1000}, Size{5003, 64}, Size{37, 300}, Size{5, 3}, Size{100, 257}})
    for (const Op op_b : both) {
      const auto a = test::normals<TestType>(most * k, 1), b = test::normals<TestType>(n * k, 2);
      const auto old = test::normals<TestType>(most * n, 3);
      const auto multiply = [&](Index rows) {
        std::vector<TestType> c = old;
        kernels::gemm(CpuDevice{}, Op::none, op_b, rows, n, k, TestType(0.7), a.data(), k, b.data(),
                      op_b == Op::none ? n : k, TestType(0.3), c.data(), n);
        return c;
      };
      const auto whole = multiply(most);
      for (const Index rows : {1, 2, 3, 5, 8, 11, 16, 17, 33}) {
        CAPTURE(n, k, rows);
        const auto part = multiply(rows);
        REQUIRE(std::equal(part.begin(), part.begin() + rows * n, whole.begin()));
      }
    }
}
#endif
