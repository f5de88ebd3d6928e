#include "retort/io/atomic_file.hpp"

#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include "catch.hpp"
#include "folder.hpp"

using namespace retort;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {
std::string refusal(const fs::path& path, std::string_view reason) {
  return fmt::format("[write] cannot write '{}': {}", path.string(), reason);
}

}  // namespace

TEST_CASE("a committed file has all that was written, and nothing else is left in the folder") {
  const Folder folder;
  const auto path = folder.path / "file";
  AtomicFile file(path);
  file.write("one ");
  file.write("two\0three", 9);
  CHECK_FALSE(fs::exists(path));
  file.commit();
  CHECK(contents(path) == std::string("one two\0three", 13));
  CHECK(folder.files() == 1);
}

TEST_CASE("until the commit the old file stands, and without it nothing changes") {
  const Folder folder;
  const auto path = folder.path / "file";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    CHECK(contents(path) == "old");
  }
  CHECK(contents(path) == "old");
  CHECK(folder.files() == 1);
  write_file(path, "new");
  CHECK(contents(path) == "new");
}

TEST_CASE("a full disk throws with name and reason, the old file stays and the temporary one goes") {
  const Folder folder;
  const auto path = folder.path / "checkpoint";
  write_file(path, "old");
  std::string said;
  {
    const SmallDisk disk(100000);
    said = message_of<FileError>([&] { write_file(path, std::string(200000, 'x')); });
  }
  CHECK(said == refusal(path, "File too large"));
  CHECK(contents(path) == "old");
  CHECK(folder.files() == 1);
}

TEST_CASE("a device is written directly and its error reported") {
  if (!fs::exists("/dev/full")) RETORT_SKIP("there is no /dev/full");
  CHECK(message_of<FileError>([] { write_file("/dev/full", "x"); }) ==
        "[write] cannot write '/dev/full': No space left on device");
  CHECK(message_of<FileError>([] { write_file("/dev/null", "x"); }) == "no error");
  CHECK(fs::is_character_file("/dev/full"));
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("a folder that is missing and a name that is a folder are errors that name it") {
  const Folder folder;
  const auto missing = folder.path / "no" / "file";
  CHECK(message_of<FileError>([&] { AtomicFile{missing}; }) == refusal(missing, "No such file or directory"));
  CHECK(message_of<FileError>([&] { AtomicFile{folder.path}; }) == refusal(folder.path, "Is a directory"));
}

TEST_CASE("the permissions of the old file are kept and a link is followed") {
  const Folder folder;
  const auto path = folder.path / "file", link = folder.path / "link";
  write_file(path, "old");
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("file", link);
  write_file(link, "new");
  CHECK(fs::is_symlink(link));
  CHECK(contents(path) == "new");
  CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE(
    "a killed writer leaves the old file and the next writer clears up after it, not after a living one") {
  const Folder folder;
  const auto path = folder.path / "file";
  write_file(path, "old");
  const ::pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(path);
    file.write("half of the n");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  CHECK(contents(path) == "old");
  CHECK(folder.files() == 2);

  std::ofstream(folder.path / ".file.mine.tmp") << "no file of ours";
  AtomicFile first(path), second(path);
  first.write("first");
  second.write("second");
  second.commit();
  CHECK(contents(path) == "second");
  first.commit();
  CHECK(contents(path) == "first");
  CHECK(folder.files() == 2);  // the file, and what is none of ours
}

TEST_CASE("a name without a folder is a file in the working folder") {
  const Folder folder;
  const auto before = fs::current_path();
  fs::current_path(folder.path);
  write_file("file", "x");
  fs::current_path(before);
  CHECK(contents(folder.path / "file") == "x");
}
