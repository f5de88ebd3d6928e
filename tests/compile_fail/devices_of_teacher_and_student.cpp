// A teacher on the CPU for a student on a GPU.
// expect: the teacher must have the student's backend: the same device and the same number type
#include "retort/distill/gkd.hpp"
#include "retort/models/decoder.hpp"

using namespace retort;

#ifdef RETORT_OK
using TeacherBackend = Cuda<float>;
#else
using TeacherBackend = Cpu<float>;
#endif

int main() {
  const DecoderConfig config{
      .vocabulary = 8, .positions = 8, .width = 4, .layers = 1, .heads = 1, .hidden = 8};
  const Decoder<Cuda<float>> student(config);
  const Decoder<TeacherBackend> teacher(config);
  Context<Cuda<float>> context;
  return static_cast<int>(recipes::on_policy_kd().loss(context, student, teacher, Batch{}).tokens);
}
