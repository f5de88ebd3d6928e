#pragma once

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "retort/core/error.hpp"

/// Files that are replaced whole or not at all (POSIX): a crash, a kill or a full disk at any moment leaves
/// the old contents under the name, or the new ones, never a part.
namespace retort {

/// A file being written: the bytes go into a temporary file in the same folder, which takes the name in
/// `commit()`, after the bytes are on the disk. Destroyed without `commit`, it leaves everything as it was.
/// Every failure throws FileError with the file's name and the system's reason. A link is followed; a name
/// that is a device or a pipe is written directly.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code ignored;
    if (std::filesystem::is_symlink(path_, ignored)) path_ = std::filesystem::weakly_canonical(path_);
    const auto status = std::filesystem::status(path_, ignored);
    if (std::filesystem::is_directory(status)) fail_with(EISDIR);
    direct_ = std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
    if (direct_) {
      descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
      if (descriptor_ < 0) fail_with(errno);
    } else {
      remove_leftovers();
      open_temporary();
    }
  }

  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  ~AtomicFile() { discard(); }

  /// Appends `bytes`. Nothing is buffered here: write large pieces.
  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ::ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) give_up(errno);
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  /// Appends `size` bytes at `data`.
  void write(const void* data, std::size_t size) { write({static_cast<const char*>(data), size}); }

  /// Gives the file its name and waits until bytes and name are on the disk. No writing afterwards.
  void commit() {
    if (::fsync(descriptor_) != 0 && !is_unsupported(errno)) give_up(errno);
    if (!direct_ && ::rename(temporary_.c_str(), path_.c_str()) != 0) give_up(errno);
    temporary_.clear();  // it is the file now
    if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail_with(errno);
    if (!direct_) sync_folder();
  }

 private:
  // A temporary file is ".NAME.PROCESS-NUMBER.tmp". It is locked as long as its writer lives, which tells one
  // in use from one that a killed process left.
  void open_temporary() {
    struct ::stat status {};
    for (int number = 0; descriptor_ < 0; ++number) {
      const std::string name = fmt::format("{}{}-{}.tmp", prefix(), ::getpid(), number);
      descriptor_ = ::open((folder() / name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor_ < 0 && errno != EEXIST) fail_with(errno);
      if (descriptor_ < 0) continue;
      temporary_ = folder() / name;
      ::flock(descriptor_, LOCK_EX | LOCK_NB);
      if (::fstat(descriptor_, &status) == 0 && status.st_nlink == 0)
        discard();  // swept away before the lock
    }
    if (::stat(path_.c_str(), &status) == 0) ::fchmod(descriptor_, status.st_mode & 07777);
  }

  void remove_leftovers() const {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(folder(), ignored)) {
      const std::string name = entry.path().filename();
      if (!name.starts_with(prefix()) || !name.ends_with(".tmp")) continue;
      const std::string owner =
          name.substr(prefix().size(), name.size() - std::min(name.size(), prefix().size() + 4));
      if (owner.empty() || owner.find_first_not_of("0123456789-") != std::string::npos) continue;
      const int descriptor = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
      if (descriptor < 0) continue;
      if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
      ::close(descriptor);
    }
  }

  void sync_folder() const {
    const int descriptor = ::open(folder().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) fail_with(errno);
    const int reason = ::fsync(descriptor) == 0 ? 0 : errno;
    ::close(descriptor);
    if (reason != 0 && !is_unsupported(reason)) fail_with(reason);
  }

  void discard() noexcept {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  [[noreturn]] void give_up(int reason) {
    discard();
    fail_with(reason);
  }

  [[noreturn]] void fail_with(int reason) const {
    fail<FileError>("write", "cannot write '{}': {}", path_.string(), std::system_category().message(reason));
  }

  // Pipes, terminals and some file systems have nothing to synchronise.
  static bool is_unsupported(int reason) { return reason == EINVAL || reason == ENOTSUP || reason == EROFS; }

  [[nodiscard]] std::filesystem::path folder() const {
    return path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  }
  [[nodiscard]] std::string prefix() const { return fmt::format(".{}.", path_.filename().string()); }

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty when there is none to remove
  int descriptor_ = -1;
  bool direct_ = false;
};

/// Replaces the contents of `path` by `bytes`, whole or not at all.
inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace retort
