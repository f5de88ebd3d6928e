// Work that the device is given as a graph, and how often it is one.
#include "retort/generate/generate.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/recording.hpp"
#include "retort/models/decoder.hpp"
#include "retort/models/encoder_decoder.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

using T3 = Tensor<float, CudaDevice>;

/// y += x as often as asked, x uploaded each time.
void add_to(const T3& y, const std::vector<float>& x, int times) {
  for (int t = 0; t < times; ++t) {
    const auto there = T3::from(y.shape(), x);
    kernels::map(CudaDevice{}, Write::accumulate, y.size(), functors::Identity{}, const_cast<T3&>(y).data(),
                 there.data());
  }
}

}  // namespace

TEST_CASE("repeated work has the numbers, sizes and kernels of each time") {
  RETORT_NEED_DEVICE();
  auto y = T3::zeros({5}), wide = T3::zeros({70000});
  std::vector<float> want(5, 0);
  for (int step = 0; step < 6; ++step) {
    const std::vector<float> x{1, 2, 3, 4, static_cast<float>(step)};
    const int times = step < 4 ? 2 : 3;
    cuda::as_graph([&] { add_to(y, x, times); });
    for (std::size_t i = 0; i < 5; ++i) want[i] += static_cast<float>(times) * x[i];
    CHECK(y.to_host() == want);
  }
  cuda::as_graph([&] { add_to(wide, std::vector<float>(70000, 2), 1); });
  CHECK(wide.to_host() == std::vector<float>(70000, 2));
  cuda::as_graph([] {});
}

TEST_CASE("repeated work that throws launches nothing, and the device goes on") {
  RETORT_NEED_DEVICE();
  auto y = T3::zeros({3});
  for (int t = 0; t < 2; ++t) cuda::as_graph([&] { add_to(y, {1, 2, 3}, 1); });
  CHECK_THROWS_AS(cuda::as_graph([&] { throw ValueError("enough"); }), ValueError);
  CHECK(y.to_host() == std::vector<float>{2, 4, 6});
  if (cuda::describe_device() != "host executor") {  // which does everything at once
    CHECK_THROWS_AS(cuda::as_graph([&] {
                      add_to(y, {1, 2, 3}, 1);
                      (void)y.to_host();
                    }),
                    DeviceError);
    CHECK_THROWS_AS(cuda::as_graph([&] {
                      add_to(y, {1, 2, 3}, 20000);
                    }),
                    DeviceError);  // more than a megabyte
    CHECK_THROWS_AS(cuda::as_graph([&] { cuda::as_graph([] {}); }), DeviceError);
    CHECK(y.to_host() == std::vector<float>{2, 4, 6});
  }
  cuda::as_graph([&] { add_to(y, {1, 2, 3}, 1); });
  CHECK(y.to_host() == std::vector<float>{3, 6, 9});
}

TEST_CASE("a step of decoding comes again as a graph") {
  RETORT_NEED_DEVICE();
  if (cuda::describe_device() == "host executor") RETORT_SKIP("the host executor has no graphs");
  const auto decode = [](const auto& model) {
    const Sequences prompts = tiny_batch(4).prompts;
    const std::vector<std::uint64_t> ids{0, 1, 2, 3};
    const auto before = cuda::graph_statistics();
    const auto out = generate(model, prompts, ids, Greedy{}, {.max_tokens = 12, .end_token = -1});
    const auto after = cuda::graph_statistics();
    CHECK(after.recordings - before.recordings == 11);
    CHECK(after.graphs - before.graphs >= 6);  // steps use two or three sets of buffers in turns
    return out.responses.tokens;
  };
  auto config = tiny_decoder_config();
  config.positions = 64;
  const Decoder<Cuda<float>> gpt2(config, {1, 1});
  CHECK(decode(gpt2) == decode(gpt2));
  decode(Decoder<Cuda<bf16>, Llama>(config, {1, 1}));
  decode(Decoder<Cuda<bf16>, Opt>(config, {1, 1}));
  decode(EncoderDecoder<Cuda<bf16>, T5>(tiny_t5_config(), {1, 2}));
}

TEST_CASE("decoding goes on in memory that the pool has given back to the driver and got again") {
  RETORT_NEED_DEVICE();
  const auto decode = [] {
    const auto model = tiny_decoder<Cuda<bf16>>(1);
    const std::vector<std::uint64_t> ids{0, 1, 2, 3};
    return generate(model, tiny_batch(4).prompts, ids, Temperature{1}, {.max_tokens = 8, .end_token = -1})
        .responses.tokens;
  };
  cuda::use_graphs(false);
  const auto want = decode();
  cuda::use_graphs(true);
  for (int t = 0; t < 4; ++t) {
    Pool<CudaDevice>::instance().trim();
    CHECK(decode() == want);
  }
}
