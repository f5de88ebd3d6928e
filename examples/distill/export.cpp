#include "convert/tokenizer_files.hpp"
#include "distill/models.hpp"
#include "retort/io/peft.hpp"

namespace distill {

namespace fs = std::filesystem;

std::string export_student(const Settings& s, Model& student) {
  const std::string& source = s.student.empty() ? s.teacher : s.student;
  const fs::path folder = fs::path(s.out) / "student";
  std::string line = fmt::format("student: {}", folder.string());
  auto merged = student.any();
  if (retort::has_lora(student.any())) {
    const fs::path adapter = fs::path(s.out) / "adapter";
    retort::save_peft(student.any(), adapter, {.base_model = source});
    line += fmt::format(" (adapters merged; by themselves: {})", adapter.string());
    retort::merge_lora(merged);
  }
  retort::save_hugging_face(merged, folder,
                            {.dtype = s.dtype, .extra = retort::HuggingFaceFolder(source).config()});
  (void)convert::copy_tokenizer_files(source, folder);
  return line;
}

}  // namespace distill
