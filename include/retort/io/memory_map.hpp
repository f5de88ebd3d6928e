#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <system_error>

#include "retort/core/error.hpp"

namespace retort {

/// The bytes of a file, read by the system when they are touched (POSIX). A file that is replaced while it is
/// mapped (AtomicFile, a rename) keeps its old bytes here; one that is cut short in place ends the process,
/// as with every memory map.
class MemoryMap {
 public:
  /// Throws FileError, with the system's reason, if the file cannot be read.
  explicit MemoryMap(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) fail_with(path, errno);
    struct ::stat status {};
    int reason = ::fstat(descriptor, &status) == 0 ? 0 : errno;
    if (reason == 0 && S_ISDIR(status.st_mode)) reason = EISDIR;
    if (reason == 0 && !S_ISREG(status.st_mode)) reason = ENOTSUP;
    if (reason == 0 && status.st_size > 0) {
      void* data =
          ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
      if (data == MAP_FAILED)
        reason = errno;
      else
        bytes_ = {static_cast<const std::byte*>(data), static_cast<std::size_t>(status.st_size)};
    }
    ::close(descriptor);
    if (reason != 0) fail_with(path, reason);
  }

  MemoryMap(const MemoryMap&) = delete;
  MemoryMap& operator=(const MemoryMap&) = delete;
  ~MemoryMap() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

  /// Gives the memory of `part`, a part of `bytes()`, back to the system: what is touched again is read
  /// again.
  void drop(std::span<const std::byte> part) const noexcept {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto first = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
    const auto last = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }

 private:
  std::span<const std::byte> bytes_;

  [[noreturn]] static void fail_with(const std::filesystem::path& path, int reason) {
    fail<FileError>("read", "cannot read '{}': {}", path.string(), std::system_category().message(reason));
  }
};

}  // namespace retort
