// Both models of a mixture compute in the same number type on the same device.
// expect: the teacher must have the student's backend: the same device and the same number type
#include "retort/generate/teacher_mixed.hpp"
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
  return generate_mixed(student, teacher, {}, {}, TeacherMixed<>{}, {}).responses.size();
}
