// How long does a checkpoint take to load, against reading its files into memory? Both in turns, the files in
// the system's cache.

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <vector>

#include "retort/io/hugging_face/folder.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"

namespace {

using namespace retort;
namespace fs = std::filesystem;

/// Reads all weight files of the folder into fresh memory, as a copy of them would be made. Returns the
/// bytes.
std::size_t read_files(const fs::path& folder) {
  std::size_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::size_t size = entry.file_size();
    const std::unique_ptr<char[]> memory(new char[size]);  // not cleared first
    const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail<FileError>("load", "cannot read '{}'", entry.path().string());
    for (std::size_t at = 0; at < size;) {
      const ::ssize_t got = ::read(file, memory.get() + at, size - at);
      if (got <= 0) fail<FileError>("load", "cannot read '{}'", entry.path().string());
      at += static_cast<std::size_t>(got);
    }
    ::close(file);
    bytes += size;
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Time to load a Hugging Face folder's weights as float, against reading its files.");
  std::string folder;
  int rounds = 5;
  app.add_option("folder", folder, "folder of the model")->required()->check(CLI::ExistingDirectory);
  app.add_option("--rounds", rounds, "medians of so many are printed")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  return support::run_program("load", app, argc, argv, [&] {
    std::vector<double> reading, loading;
    std::size_t bytes = read_files(folder);  // into the cache
    double weights = 0, before = 0, after = 0, peak = 0;
    for (int round = 0; round < rounds; ++round) {
      if (round == 0) before = bench::resident_bytes();
      double start = bench::now();
      {
        auto model = HuggingFaceFolder(folder).load<Cpu<float>>();
        loading.push_back(bench::now() - start);
        if (round == 0) {
          after = bench::resident_bytes(), peak = bench::peak_resident_bytes();
          weights = 4 * static_cast<double>(parameter_count(parameters(model)));
        }
      }
      start = bench::now();
      (void)read_files(folder);
      reading.push_back(bench::now() - start);
    }
    const double l = bench::median(loading), r = bench::median(reading);
    fmt::print("files        {:.0f} MB, read in {:.3f} s ({:.2f} GB/s)\n", static_cast<double>(bytes) / 1e6,
               r, static_cast<double>(bytes) / 1e9 / r);
    fmt::print("weights      {:.0f} MB of float, loaded in {:.3f} s (first time {:.3f}): {:.2f} x reading\n",
               weights / 1e6, l, loading.front(), l / r);
    fmt::print("resident     {:.0f} MB more, {:.3f} x the weights (peak of the process {:.0f} MB)\n",
               (after - before) / 1e6, (after - before) / weights, peak / 1e6);
    return 0;
  });
}
