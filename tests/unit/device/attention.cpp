// Attention on the CUDA device: the kernels for every width, and those of tensor cores where they serve.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using kernels::AttentionShape;
using kernels::Segments;

namespace {

struct Case {
  const char* what;
  AttentionShape shape;  ///< strides are filled in
  Segments queries, keys;
  bool bias = false;
  bool bias_gradient = false;
  Index gap = 0;  ///< columns between the rows
};

/// Output, log sum exp and all gradients of the device are the CPU's in double, from the CPU's output rounded
/// to T.
template <class T>
void check(const Case& c) {
  AttentionShape s = c.shape;
  s.q_stride = s.o_stride = s.heads * s.width + c.gap;
  s.k_stride = s.v_stride = s.kv_heads * s.width + c.gap;
  const Index q_rows = c.queries.end(), k_rows = c.keys.end(), bias_size = s.heads * (2 * s.bias_reach - 1);
  const auto q = Uploaded<T>::normal(q_rows * s.q_stride, 1), k = Uploaded<T>::normal(k_rows * s.k_stride, 2),
             v = Uploaded<T>::normal(k_rows * s.v_stride, 3),
             d_o = Uploaded<T>::normal(q_rows * s.o_stride, 4),
             bias = Uploaded<T>::normal(c.bias ? bias_size : 0, 5);
  const double* bias_on_cpu = c.bias ? bias.host.data() : nullptr;
  const T* bias_on_device = c.bias ? static_cast<const T*>(bias) : nullptr;
  const auto bias_before = normals<double>(c.bias_gradient ? bias_size : 0, 6);
  // What no segment names stays: columns between rows, rows between segments.
  const Numbers filled_o(q.host.size(), 5), filled_kv(k.host.size(), 5);
  Numbers o = filled_o, lse(static_cast<std::size_t>(q_rows * s.heads), 5), dq = filled_o, dk = filled_kv,
          dv = filled_kv, d_bias = Uploaded<T>(bias_before).host;
  kernels::attention(CpuDevice{}, s, c.queries, c.keys, q.host.data(), k.host.data(), v.host.data(),
                     bias_on_cpu, o.data(), lse.data());
  const Numbers filled_lse(lse.size(), 5);
  const Uploaded<T> o_given(o);
  const Uploaded<float> lse_given(lse);
  kernels::attention_backward(CpuDevice{}, s, c.queries, c.keys, q.host.data(), k.host.data(), v.host.data(),
                              bias_on_cpu, o.data(), lse.data(), d_o.host.data(),
                              kernels::AttentionGradients<double>{dq.data(), dk.data(), dv.data(),
                                                                  c.bias_gradient ? d_bias.data() : nullptr});
  const auto got = in_every_order([&]() -> std::vector<Numbers> {
    Uploaded<T> out(filled_o), to_q(filled_o), to_k(filled_kv), to_v(filled_kv), to_bias(bias_before);
    Uploaded<float> sums(filled_lse);
    kernels::attention<T>(CudaDevice{}, s, c.queries, c.keys, q, k, v, bias_on_device, out, sums);
    kernels::attention_backward<T>(
        CudaDevice{}, s, c.queries, c.keys, q, k, v, bias_on_device, o_given, lse_given, d_o,
        kernels::AttentionGradients<T>{to_q, to_k, to_v,
                                       c.bias_gradient ? static_cast<T*>(to_bias) : nullptr});
    return {out.now(), sums.now(), to_q.now(), to_k.now(), to_v.now(), to_bias.now()};
  });
  // Columns between the rows hold 5, which is not a result: errors are shares of the largest result.
  const auto error = [](const Numbers& a, const Numbers& b) {
    Numbers x, y;
    for (std::size_t i = 0; i < a.size(); ++i)
      if (a[i] != 5 || b[i] != 5) x.push_back(a[i]), y.push_back(b[i]);
    return error_of(x, y);
  };
  INFO(c.what << ", width " << s.width);
  CHECK(error(got[0], o) <= device_tolerance<T>);
  CHECK(error(got[1], lse) <= (sizeof(T) == 4 ? 1e-5 : 1e-4));
  CHECK(error(got[2], dq) <= device_tolerance<T>);
  CHECK(error(got[3], dk) <= device_tolerance<T>);
  CHECK(error(got[4], dv) <= device_tolerance<T>);
  CHECK(error(got[5], d_bias) <= device_tolerance<T>);
}

AttentionShape shape(Index heads, Index kv_heads, Index width, bool causal, Index reach = 0,
                     double dropout = 0) {
  AttentionShape s;
  s.heads = heads, s.kv_heads = kv_heads, s.width = width, s.causal = causal, s.bias_reach = reach;
  s.scale = 1 / std::sqrt(static_cast<double>(width));
  s.dropout = dropout, s.key = {11, 12};
  return s;
}

Segments packed(const std::vector<std::int32_t>& lengths) {
  return Segments::packed(lengths);
}

}  // namespace

TEMPLATE_TEST_CASE("attention of the device and its gradients are the CPU's at awkward widths and lengths",
                   "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const Index width : {1, 7, 17, 33, 64, 130})
    check<T>({"causal", shape(2, 1, width, true), packed({5, 1, 17}), packed({5, 1, 17})});
  for (const Index width : {8, 64}) check<T>({"long", shape(1, 1, width, true), packed({70}), packed({70})});
  check<T>({"all keys", shape(3, 3, 12, false), packed({7, 33}), packed({4, 40})});
  check<T>({"groups of queries", shape(6, 2, 10, true), packed({9, 12}), packed({9, 12})});
  check<T>({"more keys than queries", shape(2, 2, 9, true), packed({1, 4, 3}), packed({64, 4, 35})});
  check<T>({"gaps", shape(2, 1, 6, true), {{2, 20}, {10, 12}}, {{3, 25}, {11, 13}}, false, false, 3});
}

TEMPLATE_TEST_CASE("attention of the device with a bias and its gradient is the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  check<T>({"bias", shape(2, 2, 7, false, 40), packed({5, 33}), packed({5, 33}), true, true});
  check<T>({"bias alone", shape(2, 2, 16, false, 40), packed({5, 33}), packed({5, 33}), true, false});
  check<T>({"causal bias, groups", shape(4, 2, 9, true, 50), packed({5, 33}), packed({50, 33}), true, true});
  check<T>({"of other keys", shape(2, 2, 7, false, 40), packed({12, 3}), packed({5, 39}), true, true});
  check<T>({"bias, tensor cores", shape(2, 2, 64, false, 40), packed({12, 33}), packed({5, 39}), true, true});
  check<T>(
      {"causal bias, tensor cores", shape(4, 2, 32, true, 80), packed({5, 70}), packed({9, 70}), true, true});
}

TEMPLATE_TEST_CASE("attention of the device drops the weights that the CPU's does", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  check<T>({"dropout", shape(2, 1, 8, true, 0, 0.3), packed({5, 33}), packed({5, 33})});
  check<T>({"dropout, other keys", shape(2, 2, 64, false, 0, 0.5), packed({9, 12}), packed({20, 37})});
  check<T>({"dropout and bias", shape(2, 2, 7, false, 40, 0.2), packed({12}), packed({39}), true, true});
}

TEMPLATE_TEST_CASE("attention of the device where segments are empty or queries see nothing", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const Index width : {5, 64}) {
    check<T>({"empty segments", shape(2, 1, width, true), packed({0, 12, 0, 3}), packed({0, 12, 4, 3})});
    check<T>({"no keys for some", shape(2, 1, width, false), packed({3, 12}), packed({0, 12})});
    check<T>({"no keys at all", shape(2, 1, width, false), packed({10, 2}), packed({0, 0})});
    check<T>({"no queries", shape(2, 1, width, false), packed({0, 0}), packed({3, 7})});
    check<T>({"more queries than keys", shape(2, 1, width, true), packed({12}), packed({7})});
    check<T>({"no sequences", shape(2, 1, width, true), {}, {}});
  }
}

TEMPLATE_TEST_CASE("attention of a few queries of each sequence is the CPU's for all teams of lanes", "",
                   float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const Index width : {4, 8, 16, 32, 64, 128, 256})
    check<T>({"decoding", shape(2, 1, width, true), packed({1, 1, 1}), packed({1, 70, 300})});
  check<T>({"several queries", shape(4, 2, 64, true), packed({3, 0, 8}), packed({3, 9, 150})});
  check<T>({"more queries than keys", shape(2, 2, 16, true), packed({7}), packed({3})});
  check<T>({"no keys", shape(2, 1, 16, false), packed({1, 2}), packed({0, 5})});
  check<T>({"bias", shape(2, 2, 64, true, 80), packed({1, 2}), packed({50, 33}), true});
  check<T>({"bias and all keys", shape(2, 2, 16, false, 80), packed({1, 2}), packed({50, 33}), true});
  check<T>({"gaps", shape(2, 1, 64, true), {{2, 20}, {3, 1}}, {{3, 60}, {51, 13}}, false, false, 8});
}

TEST_CASE("attention on tensor cores is the CPU's, with all that it takes") {
  RETORT_NEED_DEVICE();
  for (const Index width : {32, 64, 128})
    check<bf16>({"causal, more keys", shape(2, 1, width, true), packed({9, 20}), packed({67, 20})});
  check<bf16>({"tiles", shape(1, 1, 32, true), packed({70, 1}), packed({70, 1})});
  check<bf16>({"gaps", shape(2, 2, 32, false), {{2, 40}, {33, 9}}, {{3, 50}, {40, 13}}, false, false, 8});
  check<bf16>(
      {"bias without gradient", shape(2, 2, 32, false, 80), packed({12, 33}), packed({64, 33}), true});
  check<bf16>(
      {"bias with gradient", shape(2, 2, 64, false, 80), packed({12, 3}), packed({14, 3}), true, true});
  check<bf16>({"rows that are not aligned", shape(2, 2, 64, true), packed({12, 33}), packed({12, 33}), false,
               false, 3});
}
