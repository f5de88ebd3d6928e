// Models between Hugging Face folders and retort's own, weights in any of three number types.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "convert/model_folder.hpp"
#include "convert/tokenizer_files.hpp"
#include "support/program.hpp"

namespace {

using namespace convert;
namespace fs = std::filesystem;
using retort::fail, retort::FileError;

struct Settings {
  std::string from, to;
  std::string as;  ///< hugging_face or retort; empty: the other kind
  std::string dtype;
  ModelFolder::ReadOptions read;
  bool overwrite = false;
};

void add_flags(CLI::App& app, Settings& s) {
  app.add_option("--from", s.from,
                 "folder of a model: Hugging Face's, or retort's (a run, or what this program wrote)")
      ->required();
  app.add_option("--to", s.to, "folder to write; made if need be")->required();
  app.add_option("--as", s.as, "what to write: hugging_face or retort (default: the other kind than --from)")
      ->check(CLI::IsMember({"hugging_face", "retort"}));
  app.add_option("--dtype", s.dtype, "of the weights: F32, BF16 or F16 (default: that of --from)")
      ->check(CLI::IsMember({"F32", "BF16", "F16"}));
  app.add_option("--family", s.read.family, "of a retort folder that does not name it, e.g. t5_v1_1");
  app.add_option("--weights", s.read.weights,
                 "file of a retort folder (default: checkpoint.safetensors, or else model.safetensors)");
  app.add_flag("--overwrite", s.overwrite, "replace a model in --to");
}

const char* name_of(Kind kind) {
  return kind == Kind::retort ? "retort" : "Hugging Face";
}

int run(const Settings& s) {
  std::error_code ignored;
  if (fs::equivalent(s.from, s.to, ignored)) fail<FileError>("convert", "'{}' is --from and --to", s.to);
  if (fs::exists(fs::path(s.to) / "config.json") && !s.overwrite)
    fail<FileError>("convert", "'{}' has a config.json: give another folder or --overwrite", s.to);
  auto model = ModelFolder::read(s.from, s.read);
  const bool to_retort = s.as.empty() ? model.kind() == Kind::hugging_face : s.as == "retort";
  const Kind kind = to_retort ? Kind::retort : Kind::hugging_face;
  const std::string dtype = s.dtype.empty() ? model.dtype() : s.dtype;
  model.write(s.to, kind, dtype);
  const auto files = copy_tokenizer_files(s.from, s.to);
  fmt::print("{}, {} weights: {} ({}, {}{}) -> {} ({}, {}); ", model.family(), model.weights(), s.from,
             name_of(model.kind()), model.dtype(), model.merged() ? ", adapters merged" : "", s.to,
             name_of(kind), dtype);
  if (files.empty())
    fmt::print("no tokenizer files there\n");
  else
    fmt::print("with {}\n", fmt::join(files, ", "));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Converts models between Hugging Face folders and retort's own.");
  add_flags(app, settings);
  return support::run_program("convert", app, argc, argv, [&] { return run(settings); });
}
