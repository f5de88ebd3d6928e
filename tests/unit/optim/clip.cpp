#include "retort/optim/clip.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "catch.hpp"
#include "retort/optim/sgd.hpp"

using namespace retort;
using namespace retort::test;
using B = Cpu<float>;

namespace {

void set_gradient(Parameter<B>& p, float value) {
  (void)p.open_grad();
  for (float& g : p.grad.span()) g = value;
}

}  // namespace

TEST_CASE("the norm is over all gradients together, and over nothing else") {
  Parameter<B> a("a", {3, 3}), b("b", {16}), frozen("frozen", {5}), untouched("untouched", {5});
  const ParameterList<B> all{&a, &b, &frozen, &untouched};
  CHECK(gradient_norm(all) == 0);
  set_gradient(a, 1);      // 9
  set_gradient(b, -0.5f);  // 4
  set_gradient(frozen, 100);
  frozen.trainable = false;
  set_gradient(untouched, 100);
  untouched.clear_grad();
  CHECK(gradient_norm(all) == Approx(std::sqrt(13.0)).epsilon(1e-12));
}

TEST_CASE("the norm is exact to ten digits and the same for every number of threads") {
  Parameter<B> p("p", {1'000'003});
  set_gradient(p, 0.1f);
  const int threads = thread_count();
  set_thread_count(1);
  const double one = gradient_norm(ParameterList<B>{&p});
  set_thread_count(4);
  CHECK(gradient_norm(ParameterList<B>{&p}) == one);
  set_thread_count(threads);
  CHECK(one == Approx(0.1f * std::sqrt(1'000'003.0)).epsilon(1e-7));
}

TEST_CASE("a norm above the limit is scaled down to it, one below is left alone") {
  Parameter<B> p("p", {4});
  const ParameterList<B> list{&p};
  set_gradient(p, 3);  // norm 6
  CHECK(clip_by_norm(list, 7).scale == 1);
  CHECK(clip_by_norm(list, 6).scale == 1);
  CHECK(clip_by_norm(list, 1.5).norm == 6);
  CHECK(clip_by_norm(list, 1.5).scale == 0.25);
  CHECK(clip_by_norm(list, std::numeric_limits<double>::infinity()).scale == 1);
  // With a scale of its own: the gradient is 3 x 0.5, of norm 3.
  CHECK(clip_by_norm(list, 1.5, 0.5).norm == 3);
  CHECK(clip_by_norm(list, 1.5, 0.5).scale == 0.25);
  CHECK(clip_by_norm(list, 4, 0.5).scale == 0.5);

  for (float& w : p.value.span()) w = 0;
  auto optimizer = Sgd{.learning_rate = 1}.on(list);
  optimizer.step({.gradient_scale = clip_by_norm(list, 1.5).scale});
  for (const float w : p.value.to_host()) CHECK(w == -0.75f);
}

TEST_CASE("a gradient of zeros is not divided by") {
  Parameter<B> p("p", {4});
  set_gradient(p, 0);
  const auto clipped = clip_by_norm(ParameterList<B>{&p}, 1);
  CHECK(clipped.norm == 0);
  CHECK(clipped.scale == 1);
}

TEST_CASE("a gradient that is not finite is refused, and its parameter named") {
  Parameter<B> good("good", {7}), bad("decoder.block.1.o", {3, 7}), worse("worse", {2});
  const ParameterList<B> list{&good, &bad, &worse};
  for (auto* p : list) set_gradient(*p, 1);
  const float values[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()};
  for (const float value : values) {
    bad.grad.data()[20] = worse.grad.data()[0] = value;
    CHECK(message_of<Error>([&] { (void)gradient_norm(list); }) ==
          "[gradient_norm] the gradient of decoder.block.1.o, shape (3, 7), has a value that is not finite");
    CHECK_THROWS_AS(clip_by_norm(list, 1), NumericError);
  }
  bad.grad.data()[20] = 1e30f;
  CHECK(
      message_of<Error>([&] { (void)gradient_norm(list); }) ==
      "[gradient_norm] the gradient of decoder.block.1.o, shape (3, 7), is so large that its norm overflows");
}

TEST_CASE("a limit that is not positive is refused") {
  Parameter<B> p("p", {4});
  CHECK(message_of<Error>([&] { (void)clip_by_norm(ParameterList<B>{&p}, 0); }) ==
        "[clip_by_norm] max_norm is 0, must be positive");
  CHECK_THROWS_AS(clip_by_norm(ParameterList<B>{&p}, std::nan("")), ValueError);
}
