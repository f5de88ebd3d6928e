// Memory that the device does not have.
#include "retort/distill/gkd.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/models/decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/step.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

TEST_CASE(
    "memory that the device does not have is an error that says how much is in use, and breaks nothing") {
  RETORT_NEED_DEVICE();
  using Numbers32 = Tensor<float, CudaDevice>;
  const auto kept = Numbers32::full({1000}, 3);
  const auto in_use = Pool<CudaDevice>::instance().statistics().in_use;
  CHECK_THROWS_WITH((Numbers32({Index{1} << 30, Index{1} << 12})),
                    Catch::Matchers::Contains("17592186044416 bytes are not to be had"));
  CHECK_THROWS_AS((Numbers32({Index{1} << 30, Index{1} << 12})), DeviceError);
  CHECK(Pool<CudaDevice>::instance().statistics().in_use == in_use);
  CHECK(kept.to_host() == std::vector<float>(1000, 3));
  CHECK(Numbers32::full({10}, 2).to_host() == std::vector<float>(10, 2));
}

TEST_CASE("after the first steps of training the device's memory is that of the step before") {
  RETORT_NEED_DEVICE();
  using B = Cuda<bf16>;
  const auto teacher = tiny_decoder<B>(1);
  auto student = tiny_decoder<B>(2);
  auto optimizer = AdamW{}.on(parameters(student));
  auto recipe = recipes::gkd(Jsd{0.5}, 1);
  recipe.max_tokens = 6, recipe.end_token = -1;
  const Batch batch = tiny_batch(4);
  std::size_t in_use = 0, allocations = 0;
  for (std::uint64_t step = 0; step < 6; ++step) {
    (void)training_step(recipe, student, &teacher, optimizer, batch, RandomKey{3, step});
    const auto now = Pool<CudaDevice>::instance().statistics();
    if (step > 2) {
      CHECK(now.in_use == in_use);
      if (cuda::describe_device() != "host executor") CHECK(now.system_allocations == allocations);
    }
    in_use = now.in_use, allocations = now.system_allocations;
  }
}
