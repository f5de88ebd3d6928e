// A model family is a complete list of policies.
// expect: EncoderDecoder: a family needs name, tied_head and the templates Norm and FeedForward over a
// backend
#include "retort/models/encoder_decoder.hpp"

using namespace retort;

struct MyT5 {
  static constexpr const char* name = "my_t5";
  static constexpr bool tied_head = true;
#ifdef RETORT_OK
  template <Backend B>
  using Norm = nn::LayerNorm<B>;
#endif
  template <Backend B>
  using FeedForward = nn::Mlp<B, Silu>;
};

int main() {
  return static_cast<int>(EncoderDecoder<Cpu<float>, MyT5>(EncoderDecoderConfig{}).vocabulary());
}
