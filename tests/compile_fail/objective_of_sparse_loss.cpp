// The loss from a sparse teacher wants a divergence, too.
// expect: a divergence needs term\(log_p, log_q\) and pull\(log_p, log_q\)
#include "retort/distill/sparse_teacher.hpp"
#include "retort/models/decoder.hpp"

using namespace retort;

struct NoDivergence {
  template <class F>
  void each_field(F&&) const {}
};

#ifdef RETORT_OK
using Chosen = ForwardKl;
#else
using Chosen = NoDivergence;
#endif

int main() {
  const Decoder<Cpu<float>> student(
      DecoderConfig{.vocabulary = 8, .positions = 8, .width = 4, .layers = 1, .heads = 1, .hidden = 8});
  Context<Cpu<float>> context;
  return static_cast<int>(
      sparse_loss(Chosen{}, context, student, Batch{}, SparseTargets{}, Normaliser{}).tokens);
}
