#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/shape.hpp"
#include "retort/io/checksum.hpp"
#include "retort/io/dtype.hpp"
#include "retort/io/memory_map.hpp"
#include "retort/io/safetensors_header.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort {

/// A safetensors file, memory-mapped: opening it reads the header alone. Everything in the header is checked
/// before anything is believed: lengths, types, offsets in range, one tensor after the other without overlap
/// or hole. Every fault is a FileError that names the file, and the tensor if it is about one.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(std::filesystem::path path) : path_(std::move(path)), map_(path_) {
    read_header();
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  /// The tensors, in the order of their bytes.
  [[nodiscard]] const std::vector<std::string>& names() const { return header_.names; }
  [[nodiscard]] bool contains(const std::string& name) const { return header_.tensors.contains(name); }
  [[nodiscard]] Shape shape(const std::string& name) const {
    const SafetensorsEntry& entry = find(name);
    if (entry.shape.size() > Shape::max_rank)
      complain(name, "has {} dimensions, at most {} are supported", entry.shape.size(), int{Shape::max_rank});
    Shape shape;
    for (const Index d : entry.shape) shape.append(d);
    return shape;
  }
  /// Element type as the format spells it: `F32`, `BF16`, `I64` ...
  [[nodiscard]] const std::string& dtype(const std::string& name) const { return find(name).dtype; }

  /// The elements as they stand in the file, row-major and little-endian; valid as long as this object.
  [[nodiscard]] std::span<const std::byte> bytes(const std::string& name) const {
    const SafetensorsEntry& entry = find(name);
    return data_.subspan(entry.begin, entry.end - entry.begin);
  }
  /// Gives the memory of `part`, a part of some `bytes(name)`, back to the system.
  void drop(std::span<const std::byte> part) const noexcept { map_.drop(part); }

  /// The strings of `__metadata__`.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// Whether the tensor's elements can be read as `T`.
  template <FileScalar T>
  [[nodiscard]] bool can_read(const std::string& name) const {
    return can_convert<T>(dtype(name));
  }

  /// The elements, row-major, converted to `T`. Floating-point types become float, double or bf16 (rounded if
  /// need be), integers anything that holds them.
  template <FileScalar T>
  void read(const std::string& name, std::span<T> to) const {
    const SafetensorsEntry& entry = find(name);
    if (to.size() * dtype_bytes(entry.dtype) != entry.end - entry.begin)
      complain(name, "has {} elements, {} were asked for",
               (entry.end - entry.begin) / dtype_bytes(entry.dtype), to.size());
    if (!can_convert<T>(entry.dtype))
      complain(name, "holds {}, which is not read as {}", entry.dtype, dtype_name<T>());
    const auto misfit = convert(entry.dtype, data_.data() + entry.begin, to);
    if (misfit >= 0) complain(name, "element {} does not fit {}", misfit, dtype_name<T>());
  }
  template <FileScalar T>
  [[nodiscard]] std::vector<T> read(const std::string& name) const {
    const SafetensorsEntry& entry = find(name);
    std::vector<T> values((entry.end - entry.begin) / dtype_bytes(entry.dtype));
    read(name, std::span<T>(values));
    return values;
  }
  /// Into a tensor, whose shape must be that of the file's.
  template <Element T, class Device>
  void read(const std::string& name, Tensor<T, Device>& to) const {
    if (!(shape(name) == to.shape())) complain(name, "has shape {}, expected {}", shape(name), to.shape());
    if constexpr (std::same_as<Device, CpuDevice>) {
      read(name, to.span());
    } else {
      const auto values = read<T>(name);
      memory::from_host(Device{}, values.data(), to.data(), to.size());
    }
  }

  /// Reads all bytes and compares them with the checksum that SafetensorsWriter put there. Throws FileError
  /// if they differ or there is none.
  void verify_checksum() const {
    const auto stored = metadata().find(checksum_key);
    if (stored == metadata().end()) fail<FileError>("safetensors", "'{}' has no checksum", path_.string());
    Checksum sum;
    detail::add_to_checksum(sum, header_);
    sum.update(data_);
    if (const auto now = fmt::format("{:016x}", sum.value()); now != stored->second)
      fail<FileError>("safetensors", "'{}' is corrupt: its checksum is {}, expected {}", path_.string(), now,
                      stored->second);
  }

 private:
  std::filesystem::path path_;
  MemoryMap map_;
  std::span<const std::byte> data_;  // what follows the header
  SafetensorsHeader header_;

  template <class... Args>
  [[noreturn]] void complain(const std::string& tensor, fmt::format_string<Args...> format,
                             Args&&... args) const {
    detail::complain_of_tensor(path_, tensor, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  [[noreturn]] void complain_header(fmt::format_string<Args...> format, Args&&... args) const {
    detail::complain_of_header(path_, format, std::forward<Args>(args)...);
  }

  [[nodiscard]] const SafetensorsEntry& find(const std::string& name) const {
    const auto entry = header_.tensors.find(name);
    if (entry == header_.tensors.end()) complain(name, "is not in the file");
    return entry->second;
  }

  void read_header() {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::uint64_t largest = 100'000'000;  // as the format's reference implementation has it
    const auto bytes = map_.bytes();
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length) complain_header("it has {} bytes", bytes.size());
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > bytes.size() - sizeof length)
      complain_header("its header has {} bytes, the file {}", length, bytes.size());
    if (length > largest) complain_header("its header has {} bytes, at most {} are allowed", length, largest);
    const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof length;
    if (length == 0 || *text != '{') complain_header("its header does not begin with '{{'");
    data_ = bytes.subspan(sizeof length + length);
    header_ = detail::SafetensorsHeaderReader(path_, data_.size()).read({text, length});
  }
};

}  // namespace retort
