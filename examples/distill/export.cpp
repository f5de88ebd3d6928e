#include "convert/tokenizer_files.hpp"
#include "distill/models.hpp"
#include "retort/io/peft.hpp"
#include "support/device.hpp"

namespace distill {

namespace fs = std::filesystem;

namespace {

/// What the adapters belong to; layers of the teacher are in no folder.
std::string base_of_adapters(const Settings& s) {
  if (!s.student.empty()) return s.student;
  std::string layers;
  for (const auto& [list, name] :
       {std::pair{&s.student_encoder_layers, "encoder layers"}, {&s.student_layers, "layers"}})
    if (!list->empty()) layers += fmt::format(", {} {}", name, fmt::join(*list, ","));
  return s.teacher + layers;
}

}  // namespace

template <retort::Backend B>
std::string export_student(const Settings& s, Model<B>& student) {
  const std::string& source = s.student.empty() ? s.teacher : s.student;
  const fs::path folder = fs::path(s.out) / "student";
  std::string line = fmt::format("student: {}", folder.string());
  auto merged = student.any();
  if (retort::has_lora(student.any())) {
    const fs::path adapter = fs::path(s.out) / "adapter";
    retort::save_peft(student.any(), adapter, {.base_model = base_of_adapters(s)});
    line += fmt::format(" (adapters merged; by themselves: {})", adapter.string());
    retort::merge_lora(merged);
  }
  retort::save_hugging_face(merged, folder,
                            {.dtype = s.export_dtype.value_or(s.device.dtype == "bfloat16" ? "BF16" : "F32"),
                             .extra = retort::HuggingFaceFolder(source).config()});
  (void)convert::copy_tokenizer_files(source, folder);
  return line;
}

template std::string export_student(const Settings&, Model<support::CompiledBackend>&);

}  // namespace distill
