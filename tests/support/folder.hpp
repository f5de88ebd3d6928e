#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

/// What tests of files share.
namespace retort::test {

/// The bytes of a file, which must be there.
inline std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Writes a file without the care that the library takes.
inline void write_plainly(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::remove(path);  // some file systems flush a file that is cut and written anew
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// An empty folder that goes away at the end of the test.
struct Folder {
  std::filesystem::path path;
  explicit Folder(const char* name = "test_")
      : path(std::filesystem::temp_directory_path() /
             ("retort_" + std::string(name) + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directory(path);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return path / name; }
  [[nodiscard]] auto files() const { return std::distance(std::filesystem::directory_iterator(path), {}); }
  void write(const char* name, std::string_view bytes) const { write_plainly(path / name, bytes); }
};

/// Files of this process cannot grow beyond `bytes`: what a full disk does, but for the reason given.
struct SmallDisk {
  rlimit before{};
  explicit SmallDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{bytes, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, SIG_DFL);
  }
};

}  // namespace retort::test
