#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "retort/kernels/cuda/flash_attention.cuh"

using retort::bf16;
namespace cuda = retort::cuda;

namespace {

/// Sizes of an attention, and its segments as (queries, keys).
struct Case {
  int width = 64, heads = 1, kv_heads = 1;
  float scale = 0.125f;
  bool causal = false, biased = false;
  std::vector<std::pair<int, int>> lengths = {};
};

/// An array of bf16 numbers, and a name for the places between segments.
struct Rows {
  int rows = 0, stride = 0;
  std::vector<bf16> data;
  Rows(int n, int columns, float filled) : rows(n), stride(columns) {
    data.assign(static_cast<std::size_t>(n) * static_cast<std::size_t>(columns), bf16(filled));
  }
  [[nodiscard]] std::size_t at(int row, int column) const {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(stride) +
           static_cast<std::size_t>(column);
  }
  [[nodiscard]] double operator()(int row, int column) const {
    return static_cast<float>(data[at(row, column)]);
  }
};

constexpr float untouched = 77;  // what is between the segments, and must stay

struct Problem {
  explicit Problem(const Case& c) : shape(c) {
    int q_rows = 1, k_rows = 2;  // rows before, between and after the segments
    for (const auto& [queries, keys] : c.lengths) {
      q_begin.push_back(q_rows), q_length.push_back(queries);
      k_begin.push_back(k_rows), k_length.push_back(keys);
      q_rows += queries + 1, k_rows += keys + 2;
    }
    const int q_columns = c.heads * c.width + 8, kv_columns = c.kv_heads * c.width;
    const int reach = 1 + std::max(*std::max_element(q_length.begin(), q_length.end()),
                                   *std::max_element(k_length.begin(), k_length.end()));
    q = random(q_rows, q_columns), d_o = random(q_rows, q_columns + 8);
    k = random(k_rows, kv_columns + 16), v = random(k_rows, kv_columns);
    bias = random(c.heads, 2 * reach - 1);
    o = Rows(q_rows, q_columns + 8, untouched), dq = Rows(q_rows, q_columns, untouched);
    dk = Rows(k_rows, kv_columns + 16, untouched), dv = Rows(k_rows, kv_columns, untouched);
    const auto numbers = static_cast<std::size_t>(q_rows * c.heads);
    lse.assign(numbers, untouched), delta.assign(numbers, untouched);

    a.q = q.data.data(), a.k = k.data.data(), a.v = v.data.data(), a.o = o.data.data(), a.lse = lse.data();
    a.d_o = d_o.data.data(), a.dq = dq.data.data(), a.dk = dk.data.data(), a.dv = dv.data.data();
    a.delta = delta.data();
    if (c.biased) a.bias = bias.data.data(), a.bias_reach = reach;
    a.q_begin = q_begin.data(), a.q_length = q_length.data();
    a.k_begin = k_begin.data(), a.k_length = k_length.data();
    a.sequences = static_cast<int>(c.lengths.size());
    a.longest_queries = *std::max_element(q_length.begin(), q_length.end());
    a.longest_keys = *std::max_element(k_length.begin(), k_length.end());
    a.heads = c.heads, a.kv_heads = c.kv_heads;
    a.q_stride = q.stride, a.k_stride = k.stride, a.v_stride = v.stride, a.o_stride = o.stride;
    a.scale = c.scale, a.causal = c.causal;
  }

  Rows random(int rows, int columns) {
    Rows r(rows, columns, 0);
    std::normal_distribution<float> normal;
    for (auto& x : r.data) x = bf16(normal(generator));
    return r;
  }

  Case shape;
  std::mt19937 generator{7};
  std::vector<std::int32_t> q_begin, q_length, k_begin, k_length;
  Rows q{0, 0, 0}, k = q, v = q, bias = q, o = q, d_o = q, dq = q, dk = q, dv = q;
  std::vector<float> lse, delta;
  cuda::FlashArguments a;
};

/// What the definition gives in double: o, lse and the gradients, laid out as the problem's.
struct Expected {
  std::vector<double> o, lse, dq, dk, dv;
};

Expected by_definition(const Problem& p) {
  const Case& c = p.shape;
  Expected e;
  const auto like = [](const Rows& r) { return std::vector<double>(r.data.size(), double{untouched}); };
  e.o = like(p.o), e.dq = like(p.dq), e.dk = like(p.dk), e.dv = like(p.dv);
  e.lse.assign(p.lse.size(), double{untouched});
  for (std::size_t b = 0; b < c.lengths.size(); ++b) {
    const int queries = p.q_length[b], keys = p.k_length[b], q0 = p.q_begin[b], k0 = p.k_begin[b];
    for (int j = 0; j < keys; ++j)
      for (int d = 0; d < c.kv_heads * c.width; ++d) e.dk[p.dk.at(k0 + j, d)] = e.dv[p.dv.at(k0 + j, d)] = 0;
    for (int h = 0; h < c.heads; ++h) {
      const int kv = h / (c.heads / c.kv_heads) * c.width, hq = h * c.width;
      for (int i = 0; i < queries; ++i) {
        const int position = keys - queries + i, seen = c.causal ? std::max(0, position + 1) : keys;
        std::vector<double> weight(static_cast<std::size_t>(seen)), d_weight = weight;
        double total = 0, dot = 0;
        for (int j = 0; j < seen; ++j) {
          double score = 0, d = 0;
          for (int x = 0; x < c.width; ++x) {
            score += p.q(q0 + i, hq + x) * p.k(k0 + j, kv + x);
            d += p.d_o(q0 + i, hq + x) * p.v(k0 + j, kv + x);
          }
          score *= double{c.scale};
          if (c.biased) score += p.bias(h, j - position + p.a.bias_reach - 1);
          total += weight[static_cast<std::size_t>(j)] = std::exp(score);
          d_weight[static_cast<std::size_t>(j)] = d;
        }
        for (std::size_t j = 0; j < weight.size(); ++j) weight[j] /= total, dot += weight[j] * d_weight[j];
        e.lse[static_cast<std::size_t>((q0 + i) * c.heads + h)] = std::log(total);
        for (int x = 0; x < c.width; ++x) {
          double out = 0, dq = 0;
          for (int j = 0; j < seen; ++j) {
            const double w = weight[static_cast<std::size_t>(j)];
            const double ds = double{c.scale} * w * (d_weight[static_cast<std::size_t>(j)] - dot);
            out += w * p.v(k0 + j, kv + x);
            dq += ds * p.k(k0 + j, kv + x);
            e.dk[p.dk.at(k0 + j, kv + x)] += ds * p.q(q0 + i, hq + x);
            e.dv[p.dv.at(k0 + j, kv + x)] += w * p.d_o(q0 + i, hq + x);
          }
          e.o[p.o.at(q0 + i, hq + x)] = out;
          e.dq[p.dq.at(q0 + i, hq + x)] = dq;
        }
      }
    }
  }
  return e;
}

/// The greatest difference, as a part of the greatest expected number that is not `untouched`. Infinite
/// numbers and `untouched` ones must be the same.
template <class T>
double error(const std::vector<T>& got, const std::vector<double>& expected) {
  double greatest = 0, difference = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double x = static_cast<double>(static_cast<float>(got[i])), y = expected[i];
    if (std::isinf(y) || y == untouched) {
      if (x != y) return std::numeric_limits<double>::infinity();
      continue;
    }
    if (!(std::abs(x) < 1e30)) return std::numeric_limits<double>::infinity();
    greatest = std::max(greatest, std::abs(y));
    difference = std::max(difference, std::abs(x - y));
  }
  return difference == 0 ? 0 : difference / greatest;
}

void check(const Case& c) {
  Problem p(c);
  const Expected expected = by_definition(p);
  cuda::flash_forward(c.width, p.a);
  CHECK(error(p.o.data, expected.o) < 8e-3);
  CHECK(error(p.lse, expected.lse) < 1e-4);
  cuda::flash_backward(c.width, p.a);
  CHECK(error(p.dq.data, expected.dq) < 1.5e-2);
  CHECK(error(p.dk.data, expected.dk) < 1.5e-2);
  CHECK(error(p.dv.data, expected.dv) < 1.5e-2);
}

}  // namespace

TEST_CASE("flash attention is softmax(scale q k') v, and its gradients, over ragged segments") {
  SECTION("one key, fewer than a tile, a tile, two and a bit") {
    check({.lengths = {{1, 1}, {7, 7}, {64, 64}, {130, 130}}});
  }
  SECTION("causal") {
    check({.causal = true, .lengths = {{130, 130}, {1, 1}, {64, 64}, {7, 7}}});
  }
  SECTION("keys and queries of unequal number") {
    check({.lengths = {{5, 140}, {70, 3}, {1, 65}}});
  }
  SECTION("causal, a cache of earlier keys") {
    check({.causal = true, .lengths = {{5, 140}, {1, 65}, {129, 200}}});
  }
  SECTION("causal, queries that see nothing") {
    check({.causal = true, .lengths = {{140, 5}, {3, 2}}});
  }
  SECTION("no keys, no queries") {
    check({.lengths = {{3, 0}, {0, 70}, {2, 2}}});
  }
}

TEST_CASE("flash attention shares a key head among the query heads of its group") {
  check({.heads = 4, .kv_heads = 2, .lengths = {{7, 7}, {65, 80}}});
  check({.width = 32, .heads = 4, .kv_heads = 2, .causal = true, .lengths = {{70, 70}, {3, 66}}});
}

TEST_CASE("flash attention adds a bias by relative position") {
  check({.scale = 1, .biased = true, .lengths = {{7, 7}, {66, 40}, {3, 70}}});
  check({.width = 32,
         .heads = 2,
         .scale = 0.2f,
         .causal = true,
         .biased = true,
         .lengths = {{70, 70}, {3, 66}, {9, 4}}});
}

TEST_CASE("flash attention is written for widths 32, 64 and 128") {
  check({.width = 32, .causal = true, .lengths = {{130, 130}, {1, 1}}});
  check({.width = 128, .causal = true, .lengths = {{66, 70}}});
  check({.width = 128, .heads = 2, .kv_heads = 1, .biased = true, .lengths = {{5, 66}}});
  CHECK(cuda::flash_supports(64));
  CHECK_FALSE(cuda::flash_supports(48));
}

TEST_CASE("flash attention takes a scale of any sign") {
  check({.scale = -0.1f, .lengths = {{7, 70}}});
  check({.scale = 0, .causal = true, .lengths = {{66, 66}}});
}

TEST_CASE("flash attention keeps to great scores") {
  check({.scale = 3, .causal = true, .lengths = {{66, 66}}});
}
