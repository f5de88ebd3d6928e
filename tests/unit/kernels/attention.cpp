#include "retort/kernels/cpu/attention.hpp"

#include <limits>

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;
using kernels::AttentionShape;
using kernels::Segments;

namespace {

/// An attention and its inputs. Rows of queries, keys and values are wider than needed, so that strides
/// matter.
template <class T>
struct Problem {
  AttentionShape shape;
  Segments queries, keys;
  std::vector<T> q, k, v, bias, d_o;

  Problem(Segments queries_, Segments keys_, AttentionShape shape_)
      : shape(shape_), queries(queries_), keys(keys_) {
    shape.q_stride = shape.heads * shape.width + 3;
    shape.k_stride = shape.kv_heads * shape.width + 5;
    shape.v_stride = shape.kv_heads * shape.width + 1;
    shape.o_stride = shape.heads * shape.width + 2;
    q = test::normals<T>(query_rows() * shape.q_stride, 1);
    k = test::normals<T>(key_rows() * shape.k_stride, 2);
    v = test::normals<T>(key_rows() * shape.v_stride, 3);
    d_o = test::normals<T>(query_rows() * shape.o_stride, 4);
    if (shape.bias_reach > 0) bias = test::normals<T>(shape.heads * (2 * shape.bias_reach - 1), 5);
  }

  Index query_rows() const { return queries.end() + 2; }  // two rows that no segment names
  Index key_rows() const { return keys.end() + 2; }
  const T* bias_data() const { return bias.empty() ? nullptr : bias.data(); }
};

/// Results of attention and of its gradient, in the number type `R`.
template <class R>
struct Result {
  std::vector<R> o, lse, dq, dk, dv, dbias;

  template <class T>
  explicit Result(const Problem<T>& p, R start = 0)
      : o(static_cast<std::size_t>(p.query_rows() * p.shape.o_stride), start),
        lse(static_cast<std::size_t>(p.query_rows() * p.shape.heads), start),
        dq(p.q.size(), start),
        dk(p.k.size(), start),
        dv(p.v.size(), start),
        dbias(p.bias.size(), start) {}
};

/// The definition: four loops in double, probabilities written out.
template <class T>
Result<double> by_loops(const Problem<T>& p) {
  Result<double> r(p);
  const auto& s = p.shape;
  const auto at = [](const auto& x, Index i) { return static_cast<double>(x[static_cast<std::size_t>(i)]); };
  const auto to = [](auto& x, Index i) -> double& { return x[static_cast<std::size_t>(i)]; };
  for (std::size_t b = 0; b < p.queries.count(); ++b)
    for (Index h = 0; h < s.heads; ++h) {
      const Index nq = p.queries.length[b], nk = p.keys.length[b], kv = h / (s.heads / s.kv_heads);
      for (Index i = 0; i < nq; ++i) {
        const Index query = p.queries.begin[b] + i, position = nk - nq + i;
        const Index q0 = query * s.q_stride + h * s.width, o0 = query * s.o_stride + h * s.width;
        const auto k0 = [&](Index j) { return (p.keys.begin[b] + j) * s.k_stride + kv * s.width; };
        const auto v0 = [&](Index j) { return (p.keys.begin[b] + j) * s.v_stride + kv * s.width; };
        const auto bias_at = [&](Index j) {
          return h * (2 * s.bias_reach - 1) + j - position + s.bias_reach - 1;
        };
        std::vector<double> weight;  // one a key
        double total = 0;
        for (Index j = 0; j < nk; ++j) {
          double score = 0;
          for (Index d = 0; d < s.width; ++d) score += at(p.q, q0 + d) * at(p.k, k0(j) + d);
          score = score * s.scale + (p.bias.empty() ? 0 : at(p.bias, bias_at(j)));
          weight.push_back(s.causal && j > position ? 0 : std::exp(score));
          total += weight.back();
        }
        to(r.lse, query * s.heads + h) = std::log(total);
        if (total == 0) continue;
        double dot = 0;
        for (Index j = 0; j < nk; ++j) {
          to(weight, j) /= total;
          for (Index d = 0; d < s.width; ++d) {
            to(r.o, o0 + d) += at(weight, j) * at(p.v, v0(j) + d);
            to(r.dv, v0(j) + d) += at(weight, j) * at(p.d_o, o0 + d);
            dot += at(weight, j) * at(p.v, v0(j) + d) * at(p.d_o, o0 + d);
          }
        }
        for (Index j = 0; j < nk; ++j) {
          double d_score = -dot;
          for (Index d = 0; d < s.width; ++d) d_score += at(p.v, v0(j) + d) * at(p.d_o, o0 + d);
          d_score *= at(weight, j);
          if (!p.bias.empty() && at(weight, j) != 0) to(r.dbias, bias_at(j)) += d_score;
          for (Index d = 0; d < s.width; ++d) {
            to(r.dq, q0 + d) += s.scale * d_score * at(p.k, k0(j) + d);
            to(r.dk, k0(j) + d) += s.scale * d_score * at(p.q, q0 + d);
          }
        }
      }
    }
  return r;
}

/// The kernels, into memory that holds NaN where they must overwrite.
template <class T>
Result<T> by_kernels(const Problem<T>& p) {
  Result<T> r(p);
  // Only rows of segments are written: put NaN there, 0 elsewhere.
  const auto poison = [](std::vector<T>& x, const Segments& segments, Index stride, Index columns) {
    for (std::size_t b = 0; b < segments.count(); ++b)
      for (Index i = 0; i < segments.length[b]; ++i)
        std::fill_n(x.begin() + (segments.begin[b] + i) * stride, columns,
                    std::numeric_limits<T>::quiet_NaN());
  };
  const auto& s = p.shape;
  poison(r.o, p.queries, s.o_stride, s.heads * s.width);
  poison(r.dq, p.queries, s.q_stride, s.heads * s.width);
  poison(r.dk, p.keys, s.k_stride, s.kv_heads * s.width);
  poison(r.dv, p.keys, s.v_stride, s.kv_heads * s.width);
  kernels::attention(CpuDevice{}, s, p.queries, p.keys, p.q.data(), p.k.data(), p.v.data(), p.bias_data(),
                     r.o.data(), r.lse.data());
  kernels::attention_backward<T>(
      CpuDevice{}, s, p.queries, p.keys, p.q.data(), p.k.data(), p.v.data(), p.bias_data(), r.o.data(),
      r.lse.data(), p.d_o.data(),
      {r.dq.data(), r.dk.data(), r.dv.data(), r.dbias.empty() ? nullptr : r.dbias.data()});
  return r;
}

template <class T>
void check(const Problem<T>& p) {
  const auto expected = by_loops(p);
  const auto given = by_kernels(p);
  const double terms =
      static_cast<double>(kernels::cpu::longest(p.keys.length)) + static_cast<double>(p.shape.width);
  const double tolerance = test::rounding<T>(terms) * 4;
  CHECK(test::difference(given.o, expected.o) <= tolerance);
  CHECK(test::difference(given.lse, expected.lse) <= tolerance);
  CHECK(test::difference(given.dq, expected.dq) <= tolerance);
  CHECK(test::difference(given.dk, expected.dk) <= tolerance * 2);
  CHECK(test::difference(given.dv, expected.dv) <= tolerance * 2);
  CHECK(test::difference(given.dbias, expected.dbias) <= tolerance * 4);
}

/// A padded batch (B, columns) of the given lengths.
Segments padded(const std::vector<std::int32_t>& lengths, Index columns, bool left) {
  Segments s;
  for (std::size_t b = 0; b < lengths.size(); ++b)
    s.add(static_cast<Index>(b) * columns + (left ? columns - lengths[b] : 0), lengths[b]);
  return s;
}

}  // namespace

TEMPLATE_TEST_CASE(
    "self-attention of ragged sequences equals its definition, causal or not, with and without bias", "",
    float, double) {
  for (const bool causal : {false, true})
    for (const Index reach : {0, 100})
      for (const Index width : {1, 5, 8, 17}) {
        CAPTURE(causal, reach, width);
        const auto rows = Segments::packed({1, 7, 17, 31, 64, 100, 2});
        check<TestType>({rows,
                         rows,
                         {.heads = 2,
                          .kv_heads = 2,
                          .width = width,
                          .scale = 0.3,
                          .causal = causal,
                          .bias_reach = reach}});
      }
}

TEMPLATE_TEST_CASE("cross-attention: queries fewer or more than keys", "", float, double) {
  for (const bool causal : {false, true})
    for (const bool biased : {false, true}) {
      CAPTURE(causal, biased);
      const Segments few = Segments::packed({1, 3, 70, 5}), many = Segments::packed({1, 9, 150, 66});
      check<TestType>({few,
                       many,
                       {.heads = 3,
                        .kv_heads = 3,
                        .width = 8,
                        .scale = 0.4,
                        .causal = causal,
                        .bias_reach = biased ? 160 : 0}});
      // A causal query before the first key sees nothing and gives 0.
      if (!biased)
        check<TestType>({many, few, {.heads = 3, .kv_heads = 3, .width = 8, .scale = 0.4, .causal = causal}});
    }
}

TEMPLATE_TEST_CASE("query heads that share key and value heads", "", float, double) {
  for (const bool causal : {false, true})
    for (const Index kv_heads : {1, 2, 6})
      for (const Index reach : {0, 80}) {
        CAPTURE(causal, kv_heads, reach);
        const auto rows = Segments::packed({5, 70, 1});
        check<TestType>({rows,
                         rows,
                         {.heads = 6,
                          .kv_heads = kv_heads,
                          .width = 7,
                          .scale = 0.5,
                          .causal = causal,
                          .bias_reach = reach}});
      }
}

TEMPLATE_TEST_CASE("a single query takes its own path: decoding", "", float, double) {
  for (const Index width : {1, 7, 16, 33})
    for (const bool causal : {false, true})
      for (const Index reach : {0, 200}) {
        CAPTURE(width, causal, reach);
        check<TestType>({Segments::packed({1, 1, 1, 1}),
                         Segments::packed({1, 200, 64, 13}),
                         {.heads = 4,
                          .kv_heads = 2,
                          .width = width,
                          .scale = 0.4,
                          .causal = causal,
                          .bias_reach = reach}});
      }
}

TEMPLATE_TEST_CASE("padding on either side changes nothing, whatever the padding holds", "", float, double) {
  using T = TestType;
  const std::vector<std::int32_t> lengths{3, 8, 1, 5};
  const Index columns = 8, row = 2 * 6;
  const AttentionShape shape{
      .heads = 2, .kv_heads = 2, .width = 6, .scale = 0.4, .causal = true, .bias_reach = 8};
  const auto attend = [&](const Segments& segments, Index rows) {
    // Token t of sequence b has the same numbers wherever its row is; padding holds NaN.
    AttentionShape s = shape;
    s.q_stride = s.k_stride = s.v_stride = s.o_stride = row;
    std::vector<T> x[3], o(static_cast<std::size_t>(rows * row)), lse(static_cast<std::size_t>(rows * 2));
    for (std::size_t part = 0; part < 3; ++part) {
      x[part].assign(o.size(), std::numeric_limits<T>::quiet_NaN());
      for (std::size_t b = 0; b < lengths.size(); ++b) {
        const auto values = test::normals<T>(lengths[b] * row, 10 * part + b);
        std::copy(values.begin(), values.end(), x[part].begin() + segments.begin[b] * row);
      }
    }
    const auto bias = test::normals<T>(2 * 15, 99);
    kernels::attention(CpuDevice{}, s, segments, segments, x[0].data(), x[1].data(), x[2].data(), bias.data(),
                       o.data(), lse.data());
    std::vector<T> tokens;  // of the sequences alone
    for (std::size_t b = 0; b < lengths.size(); ++b)
      tokens.insert(tokens.end(), o.begin() + segments.begin[b] * row,
                    o.begin() + (segments.begin[b] + lengths[b]) * row);
    return tokens;
  };
  const auto packed = attend(Segments::packed(lengths), 17);
  CHECK(attend(padded(lengths, columns, false), 4 * columns) == packed);
  CHECK(attend(padded(lengths, columns, true), 4 * columns) == packed);
}

TEMPLATE_TEST_CASE("padded batches: rows of no sequence are not written", "", float, double) {
  for (const bool left : {false, true}) {
    const auto rows = padded({3, 8, 1, 0, 5}, 8, left);
    check<TestType>({rows, rows, {.heads = 2, .kv_heads = 2, .width = 6, .scale = 0.4, .bias_reach = 8}});
  }
}

TEMPLATE_TEST_CASE("sequences without queries or keys: a query that sees no key gives 0", "", float, double) {
  for (const bool causal : {false, true}) {
    CAPTURE(causal);
    const AttentionShape shape{.heads = 2, .kv_heads = 1, .width = 5, .causal = causal};
    check<TestType>({Segments::packed({2, 0, 1, 3}), Segments::packed({4, 3, 0, 0}), shape});
    check<TestType>({Segments::packed({1, 3}), Segments::packed({0, 0}), shape});
    check<TestType>({Segments::packed({0, 0}), Segments::packed({0, 2}), shape});
  }
}

TEMPLATE_TEST_CASE("attention of scores that are far apart or large stays finite and exact", "", float,
                   double) {
  using T = TestType;
  const auto rows = Segments::packed({70});
  Problem<T> p(rows, rows, {.heads = 1, .kv_heads = 1, .width = 4, .scale = 1, .causal = true});
  for (T& x : p.q) x *= T(12);
  const auto expected = by_loops(p);
  const auto given = by_kernels(p);
  CHECK(test::difference(given.o, expected.o) <= test::rounding<T>(100) * 40);
  CHECK(test::difference(given.dv, expected.dv) <= test::rounding<T>(100) * 40);
}

TEMPLATE_TEST_CASE("attention gives the same bits on any number of threads", "", float, double) {
  using T = TestType;
  const auto rows = Segments::packed({30, 1, 77, 5, 64, 100});
  for (const Index reach : {0, 100}) {
    const Problem<T> p(
        rows, rows,
        {.heads = 4, .kv_heads = 2, .width = 16, .scale = 0.25, .causal = true, .bias_reach = reach});
    CHECK(test::same_on_any_thread_count([&] {
      const auto r = by_kernels(p);
      std::vector<T> all = r.o;
      for (const auto* part : {&r.dq, &r.dk, &r.dv, &r.dbias})
        all.insert(all.end(), part->begin(), part->end());
      return all;
    }));
  }
}

TEST_CASE("segments: packed ones follow each other and end names the last row") {
  const auto s = Segments::packed({3, 0, 4});
  CHECK(s.count() == 3);
  CHECK(s.begin == std::vector<std::int32_t>{0, 3, 3});
  CHECK(s.end() == 7);
  CHECK(Segments{}.end() == 0);
  CHECK(padded({2, 3}, 5, true).end() == 10);
}
