// The same for decoders.
// expect: Decoder: a family needs name, parallel and the templates Norm, FeedForward, Positions
// and Rotary
#include "retort/models/decoder.hpp"

using namespace retort;

struct MyGpt {
  static constexpr const char* name = "my_gpt";
  static constexpr bool parallel = false;
  template <Backend B>
  using Norm = nn::RmsNorm<B>;
  template <Backend B>
  using FeedForward = nn::Mlp<B, Silu>;
#ifdef RETORT_OK
  template <Backend B>
  using Positions = nn::LearnedPositions<B>;
#endif
  template <Backend B>
  using Rotary = nn::NoRotary<B>;
  static DecoderConfig config() {
    return {};
  }
};

int main() {
  return static_cast<int>(Decoder<Cpu<float>, MyGpt>(DecoderConfig{}).vocabulary());
}
