// Draws of tokens and the most probable ones on the CUDA device.
#include "retort/generate/samplers.hpp"
#include "retort/generate/teacher_mixed.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cpu/top_k.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

/// What `FirstTokens` of a vocabulary larger than the tokenizer's does, here by a name of the test.
struct First {
  static constexpr const char* name = "first";
  Index n = 0;
  template <class T>
  void filter(T* logits, Index count, std::vector<Index>&) const {
    if (n < count) std::fill(logits + n, logits + count, -std::numeric_limits<T>::infinity());
  }
  bool add_to(SamplerSteps& steps) const {
    return steps.add(SamplerSteps::Kind::first_tokens, static_cast<double>(n));
  }
};

/// What the CPU draws of a row in double, or the number that the device has for its error.
DrawnToken draw_on_cpu(const auto& sampler, const Numbers& row, double u) {
  Numbers logits = row;
  std::vector<Index> scratch;
  DrawnToken drawn;
  const auto message = message_of<NumericError>(
      [&] { drawn = draw_token(sampler, logits.data(), static_cast<Index>(row.size()), u, scratch); });
  if (message.find("left no token") != std::string::npos) return {-2, 0, 0};
  if (message != "no error") return {-1, 0, 0};
  return drawn;
}

/// Draws of all rows on the device, the same in every order, are the CPU's in double.
template <class T, class S>
void check_draws(const S& sampler, const Uploaded<T>& logits, Index n, const Numbers& u) {
  SamplerSteps steps;
  REQUIRE(sampler.add_to(steps));
  const auto count = static_cast<Index>(u.size());
  const auto got = in_every_order([&]() -> std::vector<Numbers> {
    std::vector<DrawnToken> drawn(u.size());
    Uploaded<T> z(logits.host, 1);
    kernels::draw_tokens<T>(CudaDevice{}, steps, count, n, z, u.data(), drawn.data());
    Numbers token, log_p, log_draw;
    for (const auto& d : drawn) {
      token.push_back(d.token);
      log_p.push_back(d.log_probability);
      log_draw.push_back(d.log_draw);
    }
    return {token, log_p, log_draw};
  });
  for (std::size_t r = 0; r < u.size(); ++r) {
    const auto first = logits.host.begin() + static_cast<std::ptrdiff_t>(r) * n;
    const auto want = draw_on_cpu(sampler, Numbers(first, first + n), u[r]);
    INFO(sampler.name << ", " << n << " tokens, row " << r << ", u " << u[r]);
    CHECK(got[0][r] == want.token);
    CHECK(std::abs(got[1][r] - want.log_probability) <= 1e-5 * std::max(1.0, std::abs(want.log_probability)));
    CHECK(std::abs(got[2][r] - want.log_draw) <= 1e-5 * std::max(1.0, std::abs(want.log_draw)));
  }
}

/// Calls f with samplers of all filters and their compositions for n tokens.
template <class F>
void each_sampler(Index n, F f) {
  f(Greedy{});
  f(Temperature{1});
  f(Temperature{0.7});
  for (const Index k : {Index{1}, Index{2}, n / 2, n - 1, n, Index{0}}) f(TopK{k});
  for (const double p : {1e-6, 0.3, 0.9, 1.0}) f(TopP{p});
  f(First{std::max<Index>(1, n / 2)});
  f(Filters{Temperature{1.3}, TopK{5}, TopP{0.7}});
  f(Filters{TopP{0.8}, Temperature{2}, TopK{3}});
  f(Filters{TopK{9}, TopP{0.6}, Temperature{0.5}, TopP{0.9}});
  f(Filters{First{std::max<Index>(1, n / 3)}, Temperature{0.9}, TopK{4}});
  f(Filters{TopP{0.95}, First{std::max<Index>(2, n - 2)}, TopK{6}});
}

}  // namespace

TEMPLATE_TEST_CASE("draws on the device are the CPU's for every composition of filters", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  constexpr Index rows = 6;
  for (const Index n : {1, 7, 17, 33, 64, 130, 1000}) {
    const auto logits = Uploaded<T>::normal(rows * n, 1, 2);
    Numbers u;
    for (Index r = 0; r < rows; ++r) u.push_back(RandomKey{3, 4}.uniform(static_cast<std::uint64_t>(r + n)));
    u[0] = 1e-9, u[1] = 1 - 1e-9;
    each_sampler(n, [&](const auto& sampler) { check_draws(sampler, logits, n, u); });
  }
}

TEMPLATE_TEST_CASE("draws on the device where logits are equal or -inf are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const double none = -HUGE_VAL;
  // Of these many equals no share is any p above: rounding would decide there whether one more is kept.
  for (const Index n : {7, 41, 601}) {
    Numbers z;
    for (Index i = 0; i < 4 * n; ++i) {
      const Index r = i / n, c = i % n;
      if (r == 0) z.push_back(1);                                               // all equal
      if (r == 1) z.push_back(static_cast<double>(c % 3));                      // three values
      if (r == 2) z.push_back(c % 2 == 0 ? none : static_cast<double>(c % 4));  // half of them never
      if (r == 3) z.push_back(c == n - 2 ? 3 : none);                           // one alone
    }
    const Uploaded<T> logits(z);
    each_sampler(n, [&](const auto& sampler) {
      check_draws(sampler, logits, n, {0.1234567, 0.7654321, 0.51111, 0.9});
    });
  }
}

TEMPLATE_TEST_CASE("zeros of both signs are equal to the device's samplers", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const Uploaded<T> logits({-1, -0.0, 0.0, -0.0, -1, 0.0});
  check_draws(Greedy{}, logits, 6, {0.5});
  check_draws(TopK{1}, logits, 6, {0.5});
  for (const double u : {0.1, 0.6}) {
    check_draws(TopK{2}, logits, 6, {u});
    check_draws(TopP{0.3}, logits, 6, {u});
  }
}

TEMPLATE_TEST_CASE("rows that no token can be drawn from are told on the device as on the CPU", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const double none = -HUGE_VAL, nan = std::nan("");
  const Uploaded<T> logits({1,    nan,  2,        0,     // row 0
                            none, none, none,     none,  // row 1
                            1,    2,    HUGE_VAL, 0,     // row 2
                            none, none, 1,        2,     // row 3: a number, but not of the first two tokens
                            -nan, 1,    2,        3,     // row 4
                            4,    1,    2,        3});   // row 5: as it should be
  const Numbers u{0.5, 0.5, 0.5, 0.5, 0.5, 0.99};
  const auto tokens = [&](const auto& sampler) {
    SamplerSteps steps;
    REQUIRE(sampler.add_to(steps));
    return in_every_order([&]() -> std::vector<Numbers> {
      std::vector<DrawnToken> drawn(u.size());
      Uploaded<T> z(logits.host);
      kernels::draw_tokens<T>(CudaDevice{}, steps, 6, 4, z, u.data(), drawn.data());
      Numbers token;
      for (const auto& d : drawn) token.push_back(d.token);
      return {token};
    })[0];
  };
  const auto same_as_cpu = [&](const auto& sampler) {
    const auto got = tokens(sampler);
    for (std::size_t r = 0; r < u.size(); ++r) {
      const auto first = logits.host.begin() + static_cast<std::ptrdiff_t>(4 * r);
      INFO(sampler.name << ", row " << r);
      CHECK(got[r] == draw_on_cpu(sampler, Numbers(first, first + 4), u[r]).token);
    }
    return got;
  };
  CHECK(same_as_cpu(Temperature{0.5}) == Numbers{-1, -1, -1, 3, -1, 3});
  CHECK(same_as_cpu(First{2}) == Numbers{-1, -1, -1, -2, -1, 1});
  CHECK(same_as_cpu(Filters{First{2}, TopK{1}}) == Numbers{-1, -1, -1, -2, -1, 0});
  CHECK(same_as_cpu(Filters{First{2}, TopP{0.5}}) == Numbers{-1, -1, -1, -2, -1, 0});
  CHECK(tokens(Greedy{}) == Numbers{-1, -1, -1, 3, -1, 0});
}

TEMPLATE_TEST_CASE("the most probable tokens on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  constexpr Index rows = 4;
  struct Case {
    Index columns, vocabulary, k;
    double temperature;
  };
  for (const auto& c :
       {Case{1, 1, 1, 1}, Case{7, 7, 7, 1}, Case{7, 5, 3, 2}, Case{33, 33, 1, 0.5}, Case{64, 64, 63, 1},
        Case{130, 128, 17, 1}, Case{1000, 1000, 130, 1}, Case{1000, 1000, 1000, 1}}) {
    auto z = normals<double>(rows * c.columns, 1, 2);
    for (Index i = 0; i < c.columns; ++i) {
      z[static_cast<std::size_t>(c.columns + i)] = static_cast<double>(i % 3);     // ties
      if (i % 2 == 1) z[static_cast<std::size_t>(2 * c.columns + i)] = -HUGE_VAL;  // fewer than k may be left
    }
    const kernels::TopKShape shape{rows, c.columns, c.vocabulary, c.k, c.temperature};
    auto scratch = Uploaded<T>(z).host;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * c.k));
    Numbers log_p(ids.size()), log_tail(rows);
    kernels::top_k_log_probabilities(CpuDevice{}, shape, scratch.data(), ids.data(), log_p.data(),
                                     log_tail.data());
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      Uploaded<T> logits(z, 1);
      auto id = Uploaded<std::int32_t>::room(rows * c.k);
      auto p = Uploaded<float>::room(rows * c.k), tail = Uploaded<float>::room(rows);
      kernels::top_k_log_probabilities<T>(CudaDevice{}, shape, logits, id, p, tail);
      return {id.now(), p.now(), tail.now()};
    });
    INFO("k " << c.k << " of " << c.vocabulary);
    CHECK(error_of(got[0], Numbers(ids.begin(), ids.end())) == 0);
    CHECK(error_of(got[1], log_p) <= 1e-5);
    CHECK(error_of(got[2], log_tail) <= 1e-5);
  }
}

TEMPLATE_TEST_CASE("a NaN or +inf makes all numbers of its row NaN among the device's most probable tokens",
                   "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const double nan = std::nan("");
  const Uploaded<T> logits({1, nan, 2, 3, 4, 1, 2, HUGE_VAL, 3, 4, 1, 2, 3, 4, 5, nan, nan, nan, nan, nan});
  for (const Index k : {1, 3, 5}) {
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      Uploaded<T> z(logits.host);
      auto id = Uploaded<std::int32_t>::room(4 * k);
      auto p = Uploaded<float>::room(4 * k), tail = Uploaded<float>::room(4);
      kernels::top_k_log_probabilities<T>(CudaDevice{}, {4, 5, 5, k}, z, id, p, tail);
      return {id.now(), p.now(), tail.now()};
    });
    for (std::size_t r : {0u, 1u, 3u}) {
      CHECK(std::isnan(got[2][r]));
      for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i)
        CHECK(std::isnan(got[1][r * static_cast<std::size_t>(k) + i]));
    }
    CHECK(got[0][2 * static_cast<std::size_t>(k)] == 4);  // the row between is as it should be
    CHECK(std::isfinite(got[1][2 * static_cast<std::size_t>(k)]));
    for (const double id : got[0]) CHECK((id >= 0 && id < 5));
  }
}

TEMPLATE_TEST_CASE("mixtures of two models' rows on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& [rows, n, more] : {std::array<Index, 3>{1, 1, 0}, {3, 7, 2}, {4, 130, 6}, {2, 1000, 24}})
    for (const double alpha : {0.0, 0.2, 1.0}) {
      const Index stride = n + more;
      const auto student = Uploaded<T>::normal(rows * stride, 1, 3),
                 teacher = Uploaded<T>::normal(rows * stride, 2, 3);
      Numbers want(static_cast<std::size_t>(rows * n));
      for (Index r = 0; r < rows; ++r)
        detail::mix_rows(alpha, student.host.data() + r * stride, teacher.host.data() + r * stride, n,
                         want.data() + r * n);
      const auto got = in_every_order([&]() -> std::vector<Numbers> {
        auto mixed = Uploaded<float>::room(rows * n);
        kernels::mix_rows<T>(CudaDevice{}, alpha, rows, n, student, stride, teacher, stride, mixed);
        return {mixed.now()};
      });
      INFO(rows << " rows of " << n << ", alpha " << alpha);
      CHECK(error_of(got[0], want) <= 1e-5);
    }
}
