#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/scalar.hpp"
#include "retort/io/checksum.hpp"
#include "retort/io/dtype.hpp"

namespace retort {

/// Metadata key under which SafetensorsWriter keeps the checksum of a file.
inline constexpr const char* checksum_key = "retort.checksum";

/// What the header of a safetensors file says of a tensor.
struct SafetensorsEntry {
  std::string dtype;
  std::vector<Index> shape;
  std::size_t begin = 0, end = 0;  ///< its bytes in the file's data
};

/// The header of a safetensors file.
struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
  std::vector<std::string> names;  ///< of the tensors, in the order of their bytes
};

namespace detail {

template <class... Args>
[[noreturn]] void complain_of_tensor(const std::filesystem::path& file, const std::string& tensor,
                                     fmt::format_string<Args...> format, Args&&... args) {
  fail<FileError>("safetensors", "'{}', tensor {}: {}", file.string(), nlohmann::json(tensor).dump(),
                  fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
[[noreturn]] void complain_of_header(const std::filesystem::path& file, fmt::format_string<Args...> format,
                                     Args&&... args) {
  fail<FileError>("safetensors", "'{}' is no safetensors file or a damaged one: {}", file.string(),
                  fmt::format(format, std::forward<Args>(args)...));
}

/// Reads a header piece by piece and keeps nothing but what belongs into one: of a text that is something
/// else the first wrong piece is refused, whatever its length.
class SafetensorsHeaderReader : private nlohmann::json_sax<nlohmann::json> {
 public:
  using Json = nlohmann::json;

  /// Of a file with so many bytes of data.
  SafetensorsHeaderReader(std::filesystem::path file, std::size_t data_bytes)
      : file_(std::move(file)), data_bytes_(data_bytes) {}

  /// Throws FileError that names the file, and the tensor if the fault is about one.
  [[nodiscard]] SafetensorsHeader read(std::string_view text) {
    header_ = {};
    depth_ = 0;
    kept_ = 0;
    most_kept_ = text.size() + data_bytes_ + spare_bytes;
    Json::sax_parse(text, static_cast<nlohmann::json_sax<Json>*>(this));
    check_layout();
    return std::move(header_);
  }

 private:
  static constexpr std::string_view metadata_name = "__metadata__";
  static constexpr std::size_t most_numbers = 64;  // of a shape; Shape has fewer
  // A header may make us keep as many bytes as the file has, and these, which are enough for 50,000 tiny
  // tensors.
  static constexpr std::size_t spare_bytes = std::size_t{16} << 20, node_bytes = 256;

  std::filesystem::path file_;
  std::size_t data_bytes_;
  SafetensorsHeader header_;
  std::size_t kept_ = 0, most_kept_ = 0;  // bytes
  int depth_ = 0;  // open brackets: 1 in the header, 2 in a tensor or the metadata, 3 in a list
  bool in_metadata_ = false, had_metadata_ = false;
  std::string name_, field_;  // of the header, and of the tensor or the metadata
  Json fields_;               // of a tensor: dtype, shape and data_offsets

  template <class... Args>
  [[noreturn]] void complain(fmt::format_string<Args...> format, Args&&... args) const {
    complain_of_tensor(file_, name_, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  [[noreturn]] void complain_header(fmt::format_string<Args...> format, Args&&... args) const {
    complain_of_header(file_, format, std::forward<Args>(args)...);
  }

  /// Counts what is kept: a header of tensors without a byte must not cost many times the file's size.
  void keep(std::size_t bytes) {
    kept_ += bytes;
    if (kept_ > most_kept_)
      complain_header("its header names {} tensors and {} texts, too many for its size",
                      header_.tensors.size(), header_.metadata.size());
  }

  [[nodiscard]] bool is_known_field() const {
    return field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
  }

  bool null() override { return take(nullptr); }
  bool boolean(bool value) override { return take(value); }
  bool number_integer(number_integer_t value) override { return take(value); }
  bool number_unsigned(number_unsigned_t value) override { return take(value); }
  bool number_float(number_float_t value, const string_t&) override { return take(value); }
  bool string(string_t& value) override { return take(std::move(value)); }
  bool binary(binary_t&) override { return take(nullptr); }  // never in JSON

  bool take(Json value) {
    if (depth_ == 1) refuse_member(value);
    if (in_metadata_) {
      if (!value.is_string())
        complain_header("its metadata has {} under {}, expected a text", value.dump(), Json(field_).dump());
      keep(node_bytes + field_.size() + value.get_ref<const std::string&>().size());
      header_.metadata[field_] = value.get<std::string>();
    } else if (is_known_field() && depth_ == 2) {
      fields_[field_] = std::move(value);
    } else if (is_known_field()) {
      if (fields_[field_].size() == most_numbers)
        complain("{} holds more than {} numbers", field_, most_numbers);
      fields_[field_].push_back(std::move(value));
    }
    return true;
  }
  /// Something else than an object where a tensor or the metadata should stand.
  [[noreturn]] void refuse_member(const Json& value) const {
    if (in_metadata_) complain_header("its metadata is {}, expected an object", value.dump());
    complain("the header gives no dtype");
  }

  bool start_object(std::size_t) override {
    if (depth_ == 2 || depth_ == 3) complain_header("its header is nested too deeply");
    ++depth_;
    fields_ = Json::object();
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 1) refuse_member(Json::array());
    if (depth_ == 3) complain_header("its header is nested too deeply");
    take(Json::array());
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& text) override {
    bool twice = false;
    if (depth_ == 1) {
      name_ = std::move(text);
      in_metadata_ = name_ == metadata_name;
      twice = in_metadata_ ? std::exchange(had_metadata_, true) : header_.tensors.contains(name_);
    } else {
      field_ = std::move(text);
      twice = in_metadata_ ? header_.metadata.contains(field_) : fields_.contains(field_);
    }
    if (twice) complain_header("its header names {} twice", Json(depth_ == 1 ? name_ : field_).dump());
    return true;
  }
  bool end_object() override {
    if (depth_ == 2 && !in_metadata_) {
      keep(node_bytes + 2 * name_.size());
      header_.tensors[name_] = entry();
    }
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    complain_header("parse error at byte {} of its header", position);
  }

  /// The tensor that `fields_` describes.
  [[nodiscard]] SafetensorsEntry entry() const {
    const auto number = [&](const Json& n, const char* what) {
      if (!n.is_number_unsigned() || n.get<std::uint64_t>() > std::uint64_t{1} << 62)
        complain("{} holds {}, expected a number of at least 0", what, n.dump());
      return n.get<std::uint64_t>();
    };
    for (const char* field : {"dtype", "shape", "data_offsets"})
      if (!fields_.contains(field)) complain("the header gives no {}", field);
    SafetensorsEntry entry;
    const Json &dtype = fields_["dtype"], &shape = fields_["shape"], &offsets = fields_["data_offsets"];
    if (!dtype.is_string() || dtype_bytes(dtype.get<std::string>()) == 0)
      complain("unknown dtype {}", dtype.dump());
    if (!shape.is_array()) complain("shape is {}, expected a list", shape.dump());
    if (!offsets.is_array() || offsets.size() != 2)
      complain("data_offsets is {}, expected two numbers", offsets.dump());
    entry.dtype = dtype.get<std::string>();
    std::uint64_t size = dtype_bytes(entry.dtype);
    for (const Json& d : shape) {
      entry.shape.push_back(static_cast<Index>(number(d, "shape")));
      if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(entry.shape.back()), &size))
        complain("shape {} is too large", shape.dump());
    }
    entry.begin = number(offsets[0], "data_offsets");
    entry.end = number(offsets[1], "data_offsets");
    if (entry.begin > entry.end || entry.end > data_bytes_)
      complain("its bytes [{}, {}) are not among the {} of the file's data: is the file truncated?",
               entry.begin, entry.end, data_bytes_);
    if (entry.end - entry.begin != size)
      complain("{} elements of {} need {} bytes, the header gives {}", shape.dump(), entry.dtype, size,
               entry.end - entry.begin);
    return entry;
  }

  /// One tensor after the other, from the first byte to the last.
  void check_layout() {
    for (const auto& [name, entry] : header_.tensors) header_.names.push_back(name);
    std::ranges::stable_sort(header_.names, {}, [&](const std::string& name) {
      const SafetensorsEntry& entry = header_.tensors.at(name);
      return std::pair(entry.begin, entry.end);
    });
    std::size_t at = 0;
    for (const std::string& name : header_.names) {
      const SafetensorsEntry& entry = header_.tensors.at(name);
      if (entry.begin < at) complain_of_tensor(file_, name, "overlaps the tensor before it");
      if (entry.begin > at)
        complain_of_tensor(file_, name, "{} bytes before it belong to no tensor", entry.begin - at);
      at = entry.end;
    }
    if (at != data_bytes_) complain_header("{} bytes at its end belong to no tensor", data_bytes_ - at);
  }
};

/// Adds the text that SafetensorsWriter makes of a header, without the checksum, to one.
inline void add_to_checksum(Checksum& sum, const SafetensorsHeader& header) {
  using nlohmann::json;
  const auto add = [&](const std::string& text) { sum.update(std::as_bytes(std::span(text))); };
  const char* separator = "{";
  const auto member = [&](const std::string& name, const json& value) {
    add(std::exchange(separator, ",") + json(name).dump() + ":" + value.dump());
  };
  json metadata = header.metadata;
  metadata.erase(checksum_key);
  const std::string metadata_name = "__metadata__";
  bool waits = true;  // for its place in the alphabet
  for (const auto& [name, entry] : header.tensors) {
    if (waits && metadata_name < name) {
      member(metadata_name, metadata);
      waits = false;
    }
    member(name,
           {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}});
  }
  if (waits) member(metadata_name, metadata);
  add("}");
}

}  // namespace detail

}  // namespace retort
