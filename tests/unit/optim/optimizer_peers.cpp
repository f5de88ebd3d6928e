// Ten steps of each optimizer against another implementation: optax 0.2.8 on JAX 0.10.2, in double. The
// script:
//
//   import jax, jax.numpy as jnp, numpy as np, optax
//   jax.config.update("jax_enable_x64", True)
//   def run(tx, shape):
//       n = int(np.prod(shape))
//       w = jnp.array(np.sin(0.7 * np.arange(n) + 0.3).reshape(shape)); state = tx.init(w)
//       for s in range(10):
//           g = 0.5 * np.cos(1.3 * np.arange(n) + 0.9 * s) + 0.01 * s
//           u, state = tx.update(jnp.array(g.reshape(shape)), state, w); w = optax.apply_updates(w, u)
//       print(", ".join(f"{x:.12g}" for x in np.asarray(w).ravel()))
//   run(optax.adamw(0.02, b1=0.8, b2=0.97, eps=1e-6, weight_decay=0.1), (2, 3))
//   run(optax.sgd(0.1, momentum=0.9), (2, 3)); run(optax.sgd(0.1, momentum=0.9, nesterov=True), (2, 3))
//   run(optax.adafactor(0.05, min_dim_size_to_factor=1), (2, 3))
//   run(optax.adafactor(0.05, min_dim_size_to_factor=1), (6,))
//   run(optax.adafactor(0.05, min_dim_size_to_factor=1, momentum=0.9, clipping_threshold=0.3,
//                       multiply_by_parameter_scale=False, decay_rate=0.5), (2, 3))
#include <array>
#include <cmath>

#include "catch.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"

using namespace retort;
using B = Cpu<double>;

namespace {

template <class Policy>
void check_ten_steps(const Policy& policy, const Shape& shape, const std::array<double, 6>& expected,
                     double tolerance = 1e-11) {
  Parameter<B> w("w", shape);
  for (int i = 0; i < 6; ++i) w.value.data()[i] = std::sin(0.7 * i + 0.3);
  auto optimizer = policy.on(ParameterList<B>{&w});
  for (int s = 0; s < 10; ++s) {
    (void)w.open_grad();
    for (int i = 0; i < 6; ++i) w.grad.data()[i] = 0.5 * std::cos(1.3 * i + 0.9 * s) + 0.01 * s;
    optimizer.step();
  }
  INFO(summary(policy));
  for (std::size_t i = 0; i < 6; ++i) CHECK(w.value.data()[i] == Approx(expected[i]).epsilon(tolerance));
}

}  // namespace

TEST_CASE("AdamW goes where optax.adamw goes") {
  check_ten_steps(
      AdamW{.learning_rate = 0.02, .beta1 = 0.8, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.1}, {2, 3},
      {0.226641491459, 0.834573230272, 1.02369723774, 0.658158141655, -0.0481827219424, -0.653950157714});
}

TEST_CASE("Sgd goes where optax.sgd goes, with plain and Nesterov momentum") {
  check_ten_steps(
      Sgd{.learning_rate = 0.1, .momentum = 0.9}, {2, 3},
      {-0.0931734465275, 0.944334952063, 1.23587264935, 0.503732039203, -0.494020730551, -0.926190035846});
  check_ten_steps(
      Sgd{.learning_rate = 0.1, .momentum = 0.9, .nesterov = true}, {2, 3},
      {-0.168411090655, 0.955939111703, 1.27134516586, 0.465132266944, -0.596117360628, -0.988185047337});
}

// optax computes 1 - t^-decay_rate in float32.
TEST_CASE(
    "Adafactor goes where optax.adafactor goes, factored and whole, with and without scale and momentum") {
  check_ten_steps(
      Adafactor{.learning_rate = 0.05}, {2, 3},
      {0.210147286547, 0.861902333207, 1.02790430051, 0.614278376078, -0.115693609415, -0.675509655983},
      1e-7);
  check_ten_steps(
      Adafactor{.learning_rate = 0.05}, {6},
      {0.221780901946, 0.866980578754, 1.03563293467, 0.615496216689, -0.0962005774489, -0.668534376399},
      1e-7);
  check_ten_steps(
      Adafactor{.learning_rate = 0.05,
                .decay_rate = 0.5,
                .clip_threshold = 0.3,
                .beta1 = 0.9,
                .scale_parameter = false},
      {2, 3},
      {0.281586552576, 0.844392526335, 0.998949378563, 0.666697335838, 0.0152734167113, -0.620788370353},
      1e-7);
}
