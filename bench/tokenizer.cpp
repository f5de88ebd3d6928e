// How fast is a tokenizer? Megabytes of text a second on one thread, ids against time.

#include <CLI/CLI.hpp>
#include <fstream>
#include <iterator>

#include "retort/text/load_tokenizer.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"

int main(int argc, char** argv) {
  using namespace retort;
  CLI::App app("Prints how fast one thread encodes and decodes a text file, whole and line by line.");
  std::string folder, path;
  int rounds = 5;
  app.add_option("tokenizer", folder, "folder or file of the tokenizer")->required();
  app.add_option("text", path, "text file")->required()->check(CLI::ExistingFile);
  app.add_option("--rounds", rounds, "the median of so many is printed")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  return support::run_program("tokenizer", app, argc, argv, [&] {
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::string_view> lines;
    for (std::string_view rest = text; !rest.empty();) {
      lines.push_back(rest.substr(0, rest.find('\n')));
      rest.remove_prefix(std::min(rest.size(), lines.back().size() + 1));
    }

    const double begin = bench::now();
    const Tokenizer tokenizer = load_tokenizer(folder);
    fmt::print("{}: loaded in {:.2f} s, {} ids\n", folder, bench::now() - begin, tokenizer.vocabulary());
    const auto report = [&](const char* what, auto&& work) {
      std::vector<double> seconds;
      for (int round = 0; round < rounds; ++round) {
        const double start = bench::now();
        work();
        seconds.push_back(bench::now() - start);
      }
      fmt::print("{:<22} {:>7.1f} MB/s (first round {:.1f})\n", what,
                 static_cast<double>(text.size()) / 1e6 / bench::median(seconds),
                 static_cast<double>(text.size()) / 1e6 / seconds.front());
    };
    std::size_t ids = 0;
    std::vector<TokenId> all;
    report("encode, whole text", [&] { all = tokenizer.encode(text); });
    report("encode, line by line", [&] {
      ids = 0;
      for (const auto line : lines) ids += tokenizer.encode(line).size();
    });
    report("decode, whole text", [&] { (void)tokenizer.decode(all); });
    fmt::print("{:.2f} MB, {} ids whole, {} line by line; resident {:.0f} MB, at most {:.0f} MB\n",
               static_cast<double>(text.size()) / 1e6, all.size(), ids, bench::resident_bytes() / 1e6,
               bench::peak_resident_bytes() / 1e6);
    return 0;
  });
}
