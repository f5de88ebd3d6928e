// The same for the loss alone.
// expect: the teacher must have the student's backend: the same device and the same number type
#include "retort/distill/objective.hpp"
#include "retort/models/decoder.hpp"

using namespace retort;

#ifdef RETORT_OK
using TeacherBackend = Cpu<float>;
#else
using TeacherBackend = Cpu<double>;
#endif

int main() {
  const DecoderConfig config{
      .vocabulary = 8, .positions = 8, .width = 4, .layers = 1, .heads = 1, .hidden = 8};
  const Decoder<Cpu<float>> student(config);
  const Decoder<TeacherBackend> teacher(config);
  Context<Cpu<float>> context;
  return static_cast<int>(
      objective_loss(ForwardKl{}, context, student, &teacher, Batch{}, Normaliser{}).tokens);
}
