#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "retort/io/atomic_file.hpp"
#include "retort/io/checksum.hpp"
#include "retort/io/dtype.hpp"
#include "retort/io/safetensors_file.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort {

/// Collects named tensors and writes them as one safetensors file, whole or not at all (AtomicFile).
///
///   SafetensorsWriter writer;
///   writer.add("weight", tensor);
///   writer.metadata("step", "100");
///   writer.write("model.safetensors");
class SafetensorsWriter {
 public:
  /// Adds a tensor. Its memory is shared until `write`, not copied. Throws ValueError for an undefined one
  /// and for a name given twice.
  template <Element T, class Device>
  void add(std::string name, const Tensor<T, Device>& tensor) {
    if (!tensor) fail<ValueError>("safetensors", "tensor '{}' is undefined", name);
    append(std::move(name), dtype_name<T>(), tensor.shape(), sizeof(T), [tensor](const Sink& sink) {
      if constexpr (std::same_as<Device, CpuDevice>) {
        sink(std::as_bytes(tensor.span()));
      } else {
        const auto host = tensor.to_host();
        sink(std::as_bytes(std::span(host)));
      }
    });
  }

  /// Adds values of the host, row-major.
  template <FileScalar T>
  void add(std::string name, const Shape& shape, std::vector<T> values) {
    if (shape.size() != static_cast<Index>(values.size()))
      fail<ShapeError>("safetensors", "tensor '{}': {} values given for shape {}", name, values.size(),
                       shape);
    append(std::move(name), dtype_name<T>(), shape, sizeof(T),
           [values = std::move(values)](const Sink& sink) { sink(std::as_bytes(std::span(values))); });
  }

  /// Adds a tensor that is stored as `dtype` (F64, F32, BF16 or F16, else ValueError), each element rounded
  /// to the nearest. `fill(first, to)` is asked for elements [first, first + to.size()) in `write`, block by
  /// block, so that there is never a second copy of the tensor.
  template <Real T>
  void add_as(std::string_view dtype, std::string name, const Shape& shape,
              std::function<void(Index, std::span<T>)> fill) {
    if (!can_write(dtype))
      fail<ValueError>("safetensors", "dtype '{}' is not written, expected F64, F32, BF16 or F16", dtype);
    append(std::move(name), dtype, shape, dtype_bytes(dtype),
           [dtype = std::string(dtype), count = shape.size(), fill = std::move(fill)](const Sink& sink) {
             constexpr Index block = 1 << 16;
             std::vector<T> values(static_cast<std::size_t>(std::min(count, block)));
             std::vector<std::byte> bytes(values.size() * dtype_bytes(dtype));
             for (Index first = 0; first < count; first += block) {
               const auto part =
                   std::span(values).first(static_cast<std::size_t>(std::min(block, count - first)));
               fill(first, part);
               convert_to<T>(dtype, part, bytes.data());
               sink(std::span(bytes).first(part.size() * dtype_bytes(dtype)));
             }
           });
  }

  /// A string of `__metadata__`; the last of several under one key counts.
  void metadata(const std::string& key, std::string value) { metadata_[key] = std::move(value); }

  /// Replaces `path`. With `checksum`, a checksum of header and data is put into the metadata, which
  /// SafetensorsFile::verify_checksum reads. Throws FileError if the file cannot be written; what was there
  /// is then unharmed.
  void write(const std::filesystem::path& path, bool checksum = false) {
    // Large elements first: with the header a multiple of 8 bytes, every tensor is aligned to its element.
    std::ranges::stable_sort(items_, std::greater<>{}, &Item::element_bytes);
    nlohmann::json header = nlohmann::json::object();
    std::size_t at = 0;
    for (const Item& item : items_) {
      header[item.name] = {
          {"dtype", item.dtype}, {"shape", item.shape}, {"data_offsets", {at, at + item.bytes}}};
      at += item.bytes;
    }
    if (!metadata_.empty() || checksum) header["__metadata__"] = metadata_;
    if (checksum) header["__metadata__"][checksum_key] = checksum_of(dump(header));

    std::string text = dump(header);
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    AtomicFile file(path);
    file.write(&length, sizeof length);
    file.write(text);
    for (const Item& item : items_)
      item.emit([&](std::span<const std::byte> bytes) { file.write(bytes.data(), bytes.size()); });
    file.commit();
  }

 private:
  using Sink = std::function<void(std::span<const std::byte>)>;
  struct Item {
    std::string name;
    std::string dtype;
    std::vector<Index> shape;
    std::size_t element_bytes, bytes;
    std::function<void(const Sink&)> emit;
  };
  std::vector<Item> items_;
  std::map<std::string, std::string> metadata_;

  void append(std::string name, std::string_view dtype, const Shape& shape, std::size_t element_bytes,
              std::function<void(const Sink&)> emit) {
    if (name == "__metadata__") fail<ValueError>("safetensors", "a tensor cannot be called __metadata__");
    if (std::ranges::any_of(items_, [&](const Item& item) { return item.name == name; }))
      fail<ValueError>("safetensors", "two tensors are called '{}'", name);
    std::vector<Index> dimensions;
    for (int i = 0; i < shape.rank(); ++i) dimensions.push_back(shape[i]);
    items_.push_back({std::move(name), std::string(dtype), std::move(dimensions), element_bytes,
                      static_cast<std::size_t>(shape.size()) * element_bytes, std::move(emit)});
  }

  [[nodiscard]] std::string checksum_of(const std::string& header) const {
    Checksum sum;
    sum.update(std::as_bytes(std::span(header)));
    for (const Item& item : items_) item.emit([&](std::span<const std::byte> bytes) { sum.update(bytes); });
    return fmt::format("{:016x}", sum.value());
  }

  [[nodiscard]] static std::string dump(const nlohmann::json& header) {
    try {
      return header.dump();
    } catch (const nlohmann::json::exception& error) {
      fail<ValueError>("safetensors", "a name or a metadata string is not text: {}", error.what());
    }
  }
};

}  // namespace retort
