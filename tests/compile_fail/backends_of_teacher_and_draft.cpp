// The same for a teacher and its draft in speculative decoding.
// expect: the draft must have the teacher's backend: the same device and the same number type
#include "retort/generate/speculative.hpp"
#include "retort/models/decoder.hpp"

using namespace retort;

#ifdef RETORT_OK
using DraftBackend = Cpu<float>;
#else
using DraftBackend = Cpu<double>;
#endif

int main() {
  const DecoderConfig config{
      .vocabulary = 8, .positions = 8, .width = 4, .layers = 1, .heads = 1, .hidden = 8};
  const Decoder<Cpu<float>> teacher(config);
  const Decoder<DraftBackend> draft(config);
  return static_cast<int>(speculative_generate(teacher, draft, {}, {}, Greedy{}, {}).proposed);
}
