// Usage: model_files make FAMILY FOLDER [SEED] | run FOLDER | compare FILE FILE | pad FILE FILE VOCABULARY
// Tiny models for the tests of the examples' programs, and a comparison of safetensors files.

#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "retort/io/checkpoint.hpp"
#include "retort/io/hugging_face/save.hpp"
#include "retort/io/run_folder.hpp"
#include "retort/io/teacher_file.hpp"
#include "retort/io/teacher_file_writer.hpp"
#include "retort/optim/adamw.hpp"

namespace {

using namespace retort;
using B = Cpu<float>;

constexpr RandomKey default_key{7, 7};

DecoderConfig tiny(DecoderConfig c, Index vocabulary) {
  c.vocabulary = vocabulary;
  c.positions = 64;
  c.width = 16;
  c.layers = 2;
  c.heads = 2;
  c.hidden = 24;
  c.init_deviation = 0.4;
  return c;
}

constexpr EncoderDecoderConfig tiny_t5{.vocabulary = 660,
                                       .width = 16,
                                       .encoder_layers = 1,
                                       .decoder_layers = 2,
                                       .heads = 2,
                                       .head_width = 8,
                                       .hidden = 24,
                                       .buckets = 8,
                                       .max_distance = 16};

/// A Hugging Face folder; the vocabulary is that of a tokenizer in tests/parity/tokenizers.
int make(const std::string& family, const std::string& folder, RandomKey key) {
  const auto save = [&]<class Model>(Model model, const nlohmann::json& extra) {
    save_hugging_face(model, folder, {.extra = extra});
    return 0;
  };
  if (family == "gpt2") return save(Decoder<B, Gpt2>(tiny(Gpt2::config(), 600), key), {{"eos_token_id", 0}});
  if (family == "llama")  // its ends are those of the configuration alone
    return save(Decoder<B, Llama>(tiny(Llama::config(), 800), key),
                {{"bos_token_id", 1}, {"eos_token_id", {2, 300, 301}}});
  if (family == "t5_v1_1")
    return save(EncoderDecoder<B, T5v11>(tiny_t5, key), {{"eos_token_id", 1}, {"pad_token_id", 0}});
  fmt::print(stderr, "no family {}\n", family);
  return 2;
}

/// The folder of a run that has trained a T5 v1.1 for no step.
int make_run(const std::string& path) {
  EncoderDecoder<B, T5v11> model(tiny_t5, default_key);
  const auto optimizer = AdamW{}.on(parameters(model));
  const nlohmann::json config{{"setting", {{"model", model_json(model)}}}};
  const RunFolder folder(path);
  folder.write_config(config, 1);
  save_checkpoint(folder.checkpoint_path(), parameters(model), optimizer, config, {{"step", 0}});
  return 0;
}

/// 0 if every tensor of `a` is in `b` with the same type, shape and bytes, and no other is.
int compare(const std::string& a, const std::string& b) {
  const SafetensorsFile x(a), y(b);
  if (x.names().size() != y.names().size()) {
    fmt::print("{} and {} tensors\n", x.names().size(), y.names().size());
    return 1;
  }
  for (const auto& name : x.names())
    if (!y.contains(name) || x.dtype(name) != y.dtype(name) || !(x.shape(name) == y.shape(name)) ||
        !std::ranges::equal(x.bytes(name), y.bytes(name))) {
      fmt::print("{} differs\n", name);
      return 1;
    }
  return 0;
}

/// A teacher's file as one of a larger vocabulary, and of no known tokenizer.
int pad(const std::string& from, const std::string& to, Index vocabulary) {
  const TeacherFile file(from);
  TeacherFileInfo info = file.info();
  info.vocabulary = vocabulary;
  info.tokenizer.clear();
  TeacherFileWriter writer(to, info);
  SparseTargets targets = file.targets(file.data());
  targets.vocabulary = vocabulary;
  writer.add(file.data(), targets);
  writer.finish();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 3 && arguments[0] == "make") return make(arguments[1], arguments[2], default_key);
    if (arguments.size() == 4 && arguments[0] == "make")
      return make(arguments[1], arguments[2], {std::stoull(arguments[3]), 0});
    if (arguments.size() == 2 && arguments[0] == "run") return make_run(arguments[1]);
    if (arguments.size() == 3 && arguments[0] == "compare") return compare(arguments[1], arguments[2]);
    if (arguments.size() == 4 && arguments[0] == "pad")
      return pad(arguments[1], arguments[2], std::stoll(arguments[3]));
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
  fmt::print(stderr,
             "model_files make FAMILY FOLDER [SEED] | run FOLDER | compare FILE FILE | pad FILE FILE "
             "VOCABULARY\n");
  return 2;
}
