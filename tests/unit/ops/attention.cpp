#include "retort/ops/attention.hpp"

#include <functional>
#include <limits>

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/linear.hpp"
#include "retort/ops/position_bias.hpp"
#include "retort/ops/softmax.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using kernels::Segments;
using V = Variable<Double>;
using Vs = std::vector<V>;
using C = Context<Double>;
using Layout = std::shared_ptr<const AttentionLayout>;

namespace {

Layout layout_of(const std::vector<std::int32_t>& queries, const std::vector<std::int32_t>& keys) {
  return std::make_shared<AttentionLayout>(
      AttentionLayout{Segments::packed(queries), Segments::packed(keys)});
}

/// Sequences of 1, n and 3 rows.
Layout three_sequences(Index n) {
  const std::vector<std::int32_t> lengths{1, static_cast<std::int32_t>(n), 3};
  return layout_of(lengths, lengths);
}

void check(const std::function<V(C&, Vs&)>& f, std::vector<TensorOf<Double>> inputs) {
  const auto result = check_gradients(f, std::move(inputs));
  INFO(result.worst);
  CHECK(result.relative_error <= 1e-6);
}

/// One sequence, one head, written out with plain ops: softmax(scale q k' + bias + mask) v.
V composition(const V& q, const V& k, const V& v, double scale_by, bool causal, const V* bias) {
  V scores = scale(matmul(q, k, true), scale_by);  // (queries, keys)
  const Index queries = scores.shape()[0], keys = scores.shape()[1];
  if (causal) {
    auto mask = TensorOf<Double>::zeros(scores.shape());
    for (Index i = 0; i < queries; ++i)
      for (Index j = keys - queries + i + 1; j < keys; ++j)
        mask.data()[i * keys + j] = -std::numeric_limits<double>::infinity();
    scores = add(scores, V(mask));
  }
  if (bias != nullptr) scores = add(scores, *bias);
  return matmul(softmax(scores), v);
}

/// Bias (queries, keys) of a bias row by distance.
TensorOf<Double> bias_by_pairs(const TensorOf<Double>& row, Index queries, Index keys) {
  const Index reach = (row.size() + 1) / 2;
  TensorOf<Double> out({queries, keys});
  for (Index i = 0; i < queries; ++i)
    for (Index j = 0; j < keys; ++j)
      out.data()[i * keys + j] = row.data()[j - (keys - queries + i) + reach - 1];
  return out;
}

}  // namespace

TEST_CASE("gradients of self-attention: causal or not, shared heads, bias") {
  for (const Index n : {1, 7, 17})
    for (const bool causal : {false, true})
      for (const Index kv_heads : {1, 2, 4}) {
        CAPTURE(n, causal, kv_heads);
        const AttentionOptions options{.heads = 4, .kv_heads = kv_heads, .scale = 0.7, .causal = causal};
        const auto layout = three_sequences(n);
        const auto qkv = normal_tensor({n + 4, (4 + 2 * kv_heads) * 3}, 1);
        check([&](C&, Vs& v) { return self_attention(options, layout, v[0]); }, {qkv});
        check([&](C&, Vs& v) { return self_attention(options, layout, v[0], &v[1]); },
              {qkv, normal_tensor({4, 2 * std::max<Index>(n, 3) - 1}, 2)});
      }
}

TEST_CASE("gradients of cross-attention and of attention over column ranges of any variables") {
  for (const Index n : {1, 7, 17}) {
    CAPTURE(n);
    const auto keys = static_cast<std::int32_t>(n + 4);
    const auto layout = layout_of({static_cast<std::int32_t>(n), 0, 3}, {5, 2, keys});
    const AttentionOptions options{.heads = 2, .kv_heads = 2, .scale = 0.7};
    const auto q = normal_tensor({n + 3, 6}, 1), kv = normal_tensor({n + 11, 12}, 2);
    check([&](C&, Vs& v) { return attention(options, layout, v[0], v[1]); }, {q, kv});

    // queries, keys and values in three variables, with columns left over on both sides
    const auto k = normal_tensor({n + 11, 9}, 3), v_wide = normal_tensor({n + 11, 7}, 4);
    const auto ranges = [&](C&, Vs& v) {
      return attention<Double>(options, layout, {v[0], 0, 6}, {v[1], 2, 6}, {v[2], 1, 6});
    };
    check(ranges, {q, k, v_wide});
  }
}

TEST_CASE("gradients of attention with rows outside every sequence, and where queries see no key") {
  auto layout = std::make_shared<AttentionLayout>();
  layout->queries.add(1, 3);
  layout->keys.add(2, 4);
  layout->queries.add(5, 2);
  layout->keys.add(7, 0);
  layout->queries.add(8, 4);
  layout->keys.add(7, 2);  // causal: the first two of the four queries see nothing
  for (const bool causal : {false, true}) {
    const AttentionOptions options{.heads = 2, .kv_heads = 1, .scale = 0.5, .causal = causal};
    check([&](C&, Vs& v) { return attention(options, layout, v[0], v[1]); },
          {normal_tensor({13, 6}, 1), normal_tensor({10, 6}, 2)});
  }
}

TEST_CASE("attention equals matmul, softmax, matmul with a mask, gradients too") {
  for (const auto& [queries, keys] :
       {std::pair<Index, Index>{1, 1}, {7, 7}, {17, 17}, {3, 9}, {1, 12}, {70, 70}, {65, 130}})
    for (const bool causal : {false, true})
      for (const bool biased : {false, true}) {
        CAPTURE(queries, keys, causal, biased);
        const Index width = 5;
        const auto layout =
            layout_of({static_cast<std::int32_t>(queries)}, {static_cast<std::int32_t>(keys)});
        const auto q = normal_tensor({queries, width}, 1), kv = normal_tensor({keys, 2 * width}, 2);
        const auto row = normal_tensor({1, 2 * (keys + 3) - 1}, 3);
        TensorOf<Double> k({keys, width}), v({keys, width});
        for (Index j = 0; j < keys; ++j) {
          std::copy_n(kv.data() + j * 2 * width, width, k.data() + j * width);
          std::copy_n(kv.data() + j * 2 * width + width, width, v.data() + j * width);
        }
        Tape<Double> fused_tape, plain_tape;
        const auto upstream = normal_tensor({queries, width}, 4);

        const V fq = fused_tape.leaf(q), fkv = fused_tape.leaf(kv), frow = fused_tape.leaf(row);
        const AttentionOptions options{.heads = 1, .kv_heads = 1, .scale = 0.6, .causal = causal};
        const V fused = attention(options, layout, fq, fkv, biased ? &frow : nullptr);
        fused_tape.backward(fused, upstream);

        const V pq = plain_tape.leaf(q), pk = plain_tape.leaf(k), pv = plain_tape.leaf(v);
        const V pairs(bias_by_pairs(row, queries, keys));
        const V plain = composition(pq, pk, pv, 0.6, causal, biased ? &pairs : nullptr);
        plain_tape.backward(plain, upstream);

        CHECK(difference(values(fused.value()), values(plain.value())) <= 1e-13);
        CHECK(difference(values(fused_tape.gradient(fq)), values(plain_tape.gradient(pq))) <= 1e-12);
        const auto dkv = values(fused_tape.gradient(fkv));
        std::vector<double> dk, dv;
        for (Index j = 0; j < keys; ++j)
          for (Index d = 0; d < 2 * width; ++d)
            (d < width ? dk : dv).push_back(dkv[static_cast<std::size_t>(j * 2 * width + d)]);
        CHECK(difference(dk, values(plain_tape.gradient(pk))) <= 1e-12);
        CHECK(difference(dv, values(plain_tape.gradient(pv))) <= 1e-12);
      }
}

TEST_CASE("self_attention is attention over the columns of one variable") {
  const auto layout = three_sequences(6);
  const AttentionOptions options{.heads = 4, .kv_heads = 2, .scale = 0.5, .causal = true};
  const auto qkv = normal_tensor({10, 8 * 3}, 1);
  TensorOf<Double> q({10, 12}), kv({10, 12});
  for (Index r = 0; r < 10; ++r) {
    std::copy_n(qkv.data() + r * 24, 12, q.data() + r * 12);
    std::copy_n(qkv.data() + r * 24 + 12, 12, kv.data() + r * 12);
  }
  CHECK(values(self_attention(options, layout, V(qkv)).value()) ==
        values(attention(options, layout, V(q), V(kv)).value()));
}

TEST_CASE("rows outside every sequence are 0 and take no gradient, whatever the memory held") {
  auto layout = std::make_shared<AttentionLayout>();
  layout->queries.add(1, 2);
  layout->keys.add(3, 2);
  const auto q = normal_tensor({4, 4}, 1), kv = normal_tensor({6, 8}, 2);
  for (int round = 0; round < 3; ++round) {
    poison_pool();
    Tape<Double> tape;
    const V vq = tape.leaf(q), vkv = tape.leaf(kv);
    const V o = attention({.heads = 2, .kv_heads = 2}, layout, vq, vkv);
    poison_pool();
    tape.backward(o, normal_tensor({4, 4}, 3));
    const auto zero_outside = [](const std::vector<double>& x, Index width, Index first, Index last) {
      for (Index i = 0; i < static_cast<Index>(x.size()); ++i) {
        const bool inside = i / width >= first && i / width < last;
        if (inside ? !std::isfinite(x[static_cast<std::size_t>(i)]) : x[static_cast<std::size_t>(i)] != 0)
          return false;
      }
      return true;
    };
    CHECK(zero_outside(values(o.value()), 4, 1, 3));
    CHECK(zero_outside(values(tape.gradient(vq)), 4, 1, 3));
    CHECK(zero_outside(values(tape.gradient(vkv)), 8, 3, 5));
  }
}

TEST_CASE("a query attends to no key after it when causal, and to no other sequence") {
  const AttentionOptions options{.heads = 1, .kv_heads = 1, .scale = 1, .causal = true};
  const auto layout = layout_of({4, 3}, {4, 3});
  const auto qkv = normal_tensor({7, 6}, 1);
  auto changed = qkv.clone();
  for (Index i = 3 * 6; i < 7 * 6; ++i) changed.data()[i] += 5;  // row 3 and the second sequence
  const auto before = values(self_attention(options, layout, V(qkv)).value());
  const auto after = values(self_attention(options, layout, V(changed)).value());
  CHECK(std::equal(before.begin(), before.begin() + 3 * 2, after.begin()));
  CHECK(before[3 * 2] != after[3 * 2]);
}

TEST_CASE("the bias of T5's buckets equals adding it to the scores pair by pair, its table's gradient too") {
  const Index n = 9, width = 4;
  const auto layout = layout_of({9}, {9});
  const auto qkv = normal_tensor({n, 3 * width}, 1), table = normal_tensor({8, 1}, 2);
  const auto upstream = normal_tensor({n, width}, 3);
  Tape<Double> fused_tape, plain_tape;
  const V x = fused_tape.leaf(qkv), t = fused_tape.leaf(table);
  const V bias = relative_position_bias(t, n, true, 20);
  fused_tape.backward(self_attention({.heads = 1, .kv_heads = 1}, layout, x, &bias), upstream);

  TensorOf<Double> part[3] = {TensorOf<Double>({n, width}), TensorOf<Double>({n, width}),
                              TensorOf<Double>({n, width})};
  TensorOf<Double> one_hot({n * n, 8});
  for (Index i = 0; i < n; ++i) {
    for (Index p = 0; p < 3; ++p)
      std::copy_n(std::as_const(qkv).data() + i * 3 * width + p * width, width, part[p].data() + i * width);
    for (Index j = 0; j < n; ++j)
      for (Index b = 0; b < 8; ++b)
        one_hot.data()[(i * n + j) * 8 + b] = relative_position_bucket(j - i, true, 8, 20) == b;
  }
  const V pt = plain_tape.leaf(table);
  const V pairs = reshape(matmul(V(one_hot), pt), {n, n});
  plain_tape.backward(composition(V(part[0]), V(part[1]), V(part[2]), 1, false, &pairs), upstream);
  CHECK(difference(values(fused_tape.gradient(t)), values(plain_tape.gradient(pt))) <= 1e-13);
}

TEST_CASE("keys that are given without a gradient take none, also where their memory is the queries'") {
  const auto layout = layout_of({5}, {5});
  const AttentionOptions options{.heads = 1, .kv_heads = 1, .scale = 0.8};
  const auto x = normal_tensor({5, 4}, 1);
  const auto gradient = [&](const TensorOf<Double>& keys) {
    Tape<Double> tape;
    const V q = tape.leaf(x), detached(keys);
    const V v = scale(q, 0.5);
    tape.backward(attention<Double>(options, layout, {q, 0, 4}, {detached, 0, 4}, {v, 0, 4}),
                  normal_tensor({5, 4}, 2));
    return values(tape.gradient(q));
  };
  CHECK(difference(gradient(x), gradient(x.clone())) == 0);
}

TEST_CASE("column ranges of one variable that overlap are refused where a gradient would be lost") {
  const auto layout = layout_of({5}, {5});
  const AttentionOptions options{.heads = 1, .kv_heads = 1};
  Tape<Double> tape;
  const V x = tape.leaf(normal_tensor({5, 12}, 1)), constant(x.value());
  const auto attend = [&](const V& v) {
    return attention<Double>(options, layout, {v, 0, 4}, {v, 2, 4}, {v, 8, 4});
  };
  CHECK(message_of<ShapeError>([&] { (void)attend(x); }) ==
        "[attention] columns [0, 4) and [2, 6) of one variable of shape (5, 12) overlap");
  CHECK_NOTHROW(attend(constant));
}

TEST_CASE("attention refuses heads, widths, rows and layouts that do not fit, with their numbers") {
  const auto layout = layout_of({4}, {6});
  const V q(TensorOf<Double>::zeros({4, 8})), kv(TensorOf<Double>::zeros({6, 16}));
  const auto said = [&](const AttentionOptions& o, const Layout& l, const V& a, const V& b,
                        const V* bias = nullptr) {
    return message_of<ShapeError>([&] { (void)attention(o, l, a, b, bias); });
  };
  const auto zeros = [](const Shape& s) { return V(TensorOf<Double>::zeros(s)); };
  CHECK(said({.heads = 2, .kv_heads = 2}, layout, q, kv) == "no error");
  CHECK(said({.heads = 3, .kv_heads = 2}, layout, q, kv) ==
        "[attention] 3 query heads cannot share 2 key/value heads");
  CHECK(said({.heads = 3, .kv_heads = 3}, layout, q, kv) ==
        "[attention] query width 8 in 3 heads, key width 8 and value width 8 in 3 heads");
  CHECK(said({.heads = 2, .kv_heads = 1}, layout, q, kv) ==
        "[attention] query width 8 in 2 heads, key width 8 and value width 8 in 1 heads");
  CHECK(said({}, layout, q, zeros({6, 15})) ==
        "[attention] query (4, 8) and key/value (6, 15): expected (rows, heads * width), (rows, 2 * heads * "
        "width)");
  CHECK(said({}, layout, zeros({3, 8}), kv) ==
        "[attention] the layout names rows up to 4 and 6, query has shape (3, 8) and key (6, 16)");
  CHECK(said({}, layout, q, zeros({5, 16})) ==
        "[attention] the layout names rows up to 4 and 6, query has shape (4, 8) and key (5, 16)");
  CHECK(said({}, layout_of({4}, {3, 3}), q, kv) == "[attention] 1 query sequences, 2 key sequences");
  const V even = zeros({1, 12}), short_bias = zeros({1, 9}), long_bias = zeros({1, 11});
  CHECK(said({}, layout, q, kv, &even) == "[attention] bias has shape (1, 12), expected (1, 2 reach - 1)");
  CHECK(said({}, layout, q, kv, &short_bias) == "[attention] a bias of reach 5 for 4 queries and 6 keys");
  CHECK(said({}, layout, q, kv, &long_bias) == "no error");
  auto negative = std::make_shared<AttentionLayout>();
  negative->queries.add(-1, 2);
  negative->keys.add(0, 2);
  CHECK(said({}, negative, q, kv) == "[attention] sequence 0 of the layout has 2 rows from row -1");
  CHECK(message_of<ShapeError>([&] {
          (void)self_attention({.heads = 2, .kv_heads = 2}, layout_of({4}, {4}), q);
        }) == "[self_attention] qkv has shape (4, 8), expected (rows, 6 * width)");
  CHECK(message_of<ShapeError>([&] {
          (void)attention<Double>({}, layout, {q, 0, 8}, {kv, 0, 8}, {zeros({7, 8}), 0, 8});
        }) == "[attention] key has shape (6, 16) but value has shape (7, 8): dimension 0 must match");
  CHECK(message_of<ShapeError>([&] {
          (void)attention<Double>({}, layout, {q, 0, 8}, {kv, 9, 8}, {kv, 0, 8});
        }) == "[attention] columns [9, 17) of a variable of shape (6, 16)");
}
