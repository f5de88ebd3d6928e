// What a header costs to read: bytes of the heap at once, whatever is in the file. Other programs' files are
// read before anybody looks at them.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <new>

#include "catch.hpp"
#include "folder.hpp"
#include "numbers.hpp"
#include "retort/io/safetensors.hpp"

namespace {

std::atomic<std::size_t> live_bytes{0}, most_bytes{0};

void* counted(void* memory) noexcept {
  if (memory == nullptr) return nullptr;
  const std::size_t live = live_bytes += ::malloc_usable_size(memory);
  for (std::size_t most = most_bytes; live > most && !most_bytes.compare_exchange_weak(most, live);) {
  }
  return memory;
}
void* take(std::size_t bytes) noexcept {
  return counted(std::malloc(bytes == 0 ? 1 : bytes));
}
void* take(std::size_t bytes, std::align_val_t alignment) noexcept {
  const auto step = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(step, (bytes + step - 1) / step * step));
}
void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void give_back(void* memory) noexcept {
  if (memory != nullptr) live_bytes -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

// All of this program. Every form is here: a sanitizer has its own of those that are not, and they must fit.
void* operator new(std::size_t bytes) {
  return or_throw(take(bytes));
}
void* operator new[](std::size_t bytes) {
  return or_throw(take(bytes));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return take(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return take(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return or_throw(take(bytes, alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return or_throw(take(bytes, alignment));
}
void operator delete(void* memory) noexcept {
  give_back(memory);
}
void operator delete[](void* memory) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  give_back(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  give_back(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  give_back(memory);
}

using namespace retort;
using namespace retort::test;

namespace {

/// Bytes of the heap that opening a file needs at once, whether it succeeds or not.
std::size_t cost_of(const std::filesystem::path& path) {
  const std::size_t before = live_bytes;
  most_bytes = before;
  try {
    const SafetensorsFile file(path);
  } catch (const FileError&) {
  }
  return most_bytes - before;
}

std::string file_of(const std::string& header, std::size_t data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i)
    bytes[static_cast<std::size_t>(i)] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(data, '\0');
}

std::string repeated(const std::string& begin, std::size_t count,
                     const std::function<std::string(std::size_t)>& f, const std::string& end) {
  std::string text = begin;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + f(i);
  return text + end;
}

constexpr std::size_t spare = std::size_t{16} << 20;

}  // namespace

TEST_CASE("a header costs no more memory than its file has bytes, and 16 MiB") {
  const Folder folder;
  const auto tensor = [](const char* fields) {
    return [=](std::size_t i) { return "\"" + std::to_string(i) + "\":{" + fields + "}"; };
  };
  const char* empty = R"("dtype":"F32","shape":[0],"data_offsets":[0,0])";
  const auto number = [](std::size_t) { return std::string("0"); };
  const auto member = [](std::size_t i) { return "\"" + std::to_string(i) + "\":\"\""; };
  constexpr std::size_t many = 300000;
  const std::vector<std::string> headers{
      repeated("{", many, tensor(empty), "}"),
      repeated("{", many, tensor(""), "}"),
      repeated("{\"__metadata__\":{", many, member, "}}"),
      repeated("{\"a\":{", many, member, "}}"),
      repeated("{\"a\":{\"dtype\":\"F32\",\"shape\":[", many, number, "]}}"),
      repeated("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[", many, number, "]}}"),
      repeated(
          "{\"a\":[", many, [](std::size_t) { return std::string("[]"); }, "]}"),
      "{\"a\":" + std::string(many, '[') + std::string(many, ']') + "}",
      "{\"" + std::string(4 * many, 'x') + "\":{\"dtype\":\"" + std::string(4 * many, 'y') + "\"}}",
      "{\"__metadata__\":{\"k\":\"" + std::string(8 * many, 'x') + "\"}}",
      "[" + std::string(many, ' '),
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1000000000000],\"data_offsets\":[0,4000000000000]}}"};
  for (std::size_t i = 0; i < headers.size(); ++i)
    for (const std::size_t data : {0, 5000000}) {
      const std::string bytes = file_of(headers[i], data);
      folder.write("file", bytes);
      CAPTURE(i, data);
      CHECK(cost_of(folder / "file") <= bytes.size() + spare);
    }
}

TEST_CASE("a damaged header costs no more than that") {
  const Folder folder;
  SafetensorsWriter writer;
  for (int i = 0; i < 40; ++i) writer.add("tensor" + std::to_string(i), {2, 3}, std::vector<float>(6));
  writer.metadata("format", "pt");
  writer.write(folder / "whole");
  const std::string whole = contents(folder / "whole");
  std::size_t most = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    std::string bytes = whole;
    const std::size_t at = i < 64 ? i / 8 : i * 7 % whole.size();
    bytes[at] = static_cast<char>(i < 64 ? bytes[at] ^ (1 << (i % 8)) : "\"{}[],:09x\xFF"[i % 12]);
    folder.write("damaged", bytes);
    most = std::max(most, cost_of(folder / "damaged"));
  }
  CHECK(most > 1000);  // it does count
  CHECK(most < (std::size_t{1} << 20));
}
