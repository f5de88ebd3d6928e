#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/shape.hpp"
#include "retort/io/checksum.hpp"
#include "retort/io/dtype.hpp"
#include "retort/io/memory_map.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort {

/// Metadata key under which SafetensorsWriter keeps the checksum of a file.
inline constexpr const char* checksum_key = "retort.checksum";

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
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] bool contains(const std::string& name) const { return entries_.contains(name); }
  [[nodiscard]] Shape shape(const std::string& name) const {
    const Entry& entry = find(name);
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
    const Entry& entry = find(name);
    return data_.subspan(entry.begin, entry.end - entry.begin);
  }
  /// Gives the memory of `part`, a part of some `bytes(name)`, back to the system.
  void drop(std::span<const std::byte> part) const noexcept { map_.drop(part); }

  /// The strings of `__metadata__`.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Whether the tensor's elements can be read as `T`.
  template <FileScalar T>
  [[nodiscard]] bool can_read(const std::string& name) const {
    return can_convert<T>(dtype(name));
  }

  /// The elements, row-major, converted to `T`. Floating-point types become float or double (rounded if need
  /// be), integers anything that holds them.
  template <FileScalar T>
  void read(const std::string& name, std::span<T> to) const {
    const Entry& entry = find(name);
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
    const Entry& entry = find(name);
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
    const auto stored = metadata_.find(checksum_key);
    if (stored == metadata_.end()) fail<FileError>("safetensors", "'{}' has no checksum", path_.string());
    Checksum sum = header_sum_;
    sum.update(data_);
    if (const auto now = fmt::format("{:016x}", sum.value()); now != stored->second)
      fail<FileError>("safetensors", "'{}' is corrupt: its checksum is {}, expected {}", path_.string(), now,
                      stored->second);
  }

 private:
  struct Entry {
    std::string dtype;
    std::vector<Index> shape;
    std::size_t begin = 0, end = 0;  // bytes of data_
  };
  using Json = nlohmann::json;

  std::filesystem::path path_;
  MemoryMap map_;
  std::span<const std::byte> data_;  // what follows the header
  std::map<std::string, Entry> entries_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;
  Checksum header_sum_;  // of the header without the checksum

  template <class... Args>
  [[noreturn]] void complain(const std::string& tensor, fmt::format_string<Args...> format,
                             Args&&... args) const {
    fail<FileError>("safetensors", "'{}', tensor {}: {}", path_.string(), Json(tensor).dump(),
                    fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  [[noreturn]] void complain_header(fmt::format_string<Args...> format, Args&&... args) const {
    fail<FileError>("safetensors", "'{}' is no safetensors file or a damaged one: {}", path_.string(),
                    fmt::format(format, std::forward<Args>(args)...));
  }

  [[nodiscard]] const Entry& find(const std::string& name) const {
    const auto entry = entries_.find(name);
    if (entry == entries_.end()) complain(name, "is not in the file");
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
    try {
      Json header = parse({text, length});
      for (const auto& [name, value] : header.items())
        if (name == "__metadata__")
          metadata_ = value.get<decltype(metadata_)>();
        else
          entries_[name] = read_entry(name, value);
      if (metadata_.contains(checksum_key)) add_to_checksum(std::move(header));
    } catch (const Json::exception& error) {
      complain_header("{}", error.what());
    }
    check_layout();
  }

  /// JSON without repeated keys, no deeper than the format asks for.
  [[nodiscard]] Json parse(std::string_view text) const {
    std::vector<std::set<std::string>> keys(4);
    const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
      const auto level = static_cast<std::size_t>(depth);
      if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) {
        if (level > 2) complain_header("its header is nested too deeply");
        keys[level + 1].clear();
      } else if (event == Json::parse_event_t::key && !keys[level].insert(value.get<std::string>()).second) {
        complain_header("its header names {} twice", value.dump());
      }
      return true;
    };
    return Json::parse(text, check);
  }

  [[nodiscard]] Entry read_entry(const std::string& name, const Json& value) const {
    const auto number = [&](const Json& n, const char* what) {
      if (!n.is_number_unsigned() || n.get<std::uint64_t>() > std::uint64_t{1} << 62)
        complain(name, "{} holds {}, expected a number of at least 0", what, n.dump());
      return n.get<std::uint64_t>();
    };
    for (const char* key : {"dtype", "shape", "data_offsets"})
      if (!value.is_object() || !value.contains(key)) complain(name, "the header gives no {}", key);
    Entry entry;
    const Json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    if (!dtype.is_string() || dtype_bytes(dtype.get<std::string>()) == 0)
      complain(name, "unknown dtype {}", dtype.dump());
    if (!shape.is_array()) complain(name, "shape is {}, expected a list", shape.dump());
    if (!offsets.is_array() || offsets.size() != 2)
      complain(name, "data_offsets is {}, expected two numbers", offsets.dump());
    entry.dtype = dtype.get<std::string>();
    std::uint64_t size = dtype_bytes(entry.dtype);
    for (const Json& d : shape) {
      entry.shape.push_back(static_cast<Index>(number(d, "shape")));
      if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(entry.shape.back()), &size))
        complain(name, "shape {} is too large", shape.dump());
    }
    entry.begin = number(offsets[0], "data_offsets");
    entry.end = number(offsets[1], "data_offsets");
    if (entry.begin > entry.end || entry.end > data_.size())
      complain(name, "its bytes [{}, {}) are not among the {} of the file's data: is the file truncated?",
               entry.begin, entry.end, data_.size());
    if (entry.end - entry.begin != size)
      complain(name, "{} elements of {} need {} bytes, the header gives {}", shape.dump(), entry.dtype, size,
               entry.end - entry.begin);
    return entry;
  }

  /// One tensor after the other, from the first byte to the last.
  void check_layout() {
    for (const auto& [name, entry] : entries_) names_.push_back(name);
    std::ranges::stable_sort(names_, {}, [&](const std::string& name) {
      const Entry& entry = entries_.at(name);
      return std::pair(entry.begin, entry.end);
    });
    std::size_t at = 0;
    for (const std::string& name : names_) {
      const Entry& entry = entries_.at(name);
      if (entry.begin < at) complain(name, "overlaps the tensor before it");
      if (entry.begin > at) complain(name, "{} bytes before it belong to no tensor", entry.begin - at);
      at = entry.end;
    }
    if (at != data_.size()) complain_header("{} bytes at its end belong to no tensor", data_.size() - at);
  }

  void add_to_checksum(Json header) {
    header["__metadata__"].erase(checksum_key);
    const std::string text = header.dump();
    header_sum_.update(std::as_bytes(std::span(text)));
  }
};

}  // namespace retort
