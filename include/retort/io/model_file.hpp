#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "retort/autograd/parameter.hpp"
#include "retort/io/safetensors.hpp"

/// The weights of a model as a safetensors file, under the names of its parameters.
namespace retort {

/// Where a tensor of a file goes: a tensor of any number type on any device.
class TensorDestination {
 public:
  /// `name` is that in the file; `to` must outlive the destination.
  template <Real T, class Device>
  TensorDestination(std::string name, Tensor<T, Device>* to)
      : name_(std::move(name)),
        shape_(to->shape()),
        can_read_(&SafetensorsFile::can_read<T>),
        read_([to](const SafetensorsFile& file, const std::string& from) { file.read(from, *to); }) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  /// Whether the file's tensor holds numbers that the destination's type can be made of.
  [[nodiscard]] bool can_read(const SafetensorsFile& file) const { return (file.*can_read_)(name_); }
  void read(const SafetensorsFile& file) const { read_(file, name_); }

 private:
  std::string name_;
  Shape shape_;
  bool (SafetensorsFile::*can_read_)(const std::string&) const;
  std::function<void(const SafetensorsFile&, const std::string&)> read_;
};

/// Reads exactly these tensors. Throws one FileError with all that does not fit: tensors that are missing,
/// tensors of the file that nobody asked for, wrong shapes, types that are not numbers of this kind. Nothing
/// is changed unless everything fits. `concerned(name)` is false for tensors of the file that may be left
/// over.
template <class Concerned>
void read_tensors(const SafetensorsFile& file, const std::vector<TensorDestination>& destinations,
                  Concerned concerned) {
  std::string missing, extra, wrong;
  std::set<std::string> wanted;
  for (const auto& to : destinations) {
    const std::string& name = to.name();
    wanted.insert(name);
    if (!file.contains(name))
      missing += (missing.empty() ? "missing: " : ", ") + name;
    else if (const Shape shape = file.shape(name); !(shape == to.shape()))
      wrong += fmt::format("{}{} has shape {} in the file, expected {}", wrong.empty() ? "" : "; ", name,
                           shape, to.shape());
    else if (!to.can_read(file))
      wrong += fmt::format("{}{} holds {}", wrong.empty() ? "" : "; ", name, file.dtype(name));
  }
  for (const auto& name : file.names())
    if (!wanted.contains(name) && concerned(name)) extra += (extra.empty() ? "not expected: " : ", ") + name;
  std::string problems;
  for (const auto& part : {missing, extra, wrong})
    if (!part.empty()) problems += (problems.empty() ? "" : "; ") + part;
  if (!problems.empty()) fail<FileError>("load", "'{}' does not fit: {}", file.path().string(), problems);
  for (const auto& to : destinations) to.read(file);
}
/// The same for files whose every tensor concerns the caller.
inline void read_tensors(const SafetensorsFile& file, const std::vector<TensorDestination>& destinations) {
  read_tensors(file, destinations, [](const std::string&) { return true; });
}

/// Writes the weights, with strings for the file's metadata. Throws FileError if that fails; a file that was
/// there is then unharmed.
template <Backend B>
void save_parameters(const std::filesystem::path& path, const ParameterList<B>& parameters,
                     const std::map<std::string, std::string>& metadata = {}) {
  SafetensorsWriter writer;
  for (const auto* p : parameters) writer.add(p->name, p->value);
  for (const auto& [key, value] : metadata) writer.metadata(key, value);
  writer.write(path);
}

/// Reads the weights of a model of the same structure, see `read_tensors`; floating-point types are
/// converted.
template <Backend B>
void load_parameters(const std::filesystem::path& path, const ParameterList<B>& parameters) {
  std::vector<TensorDestination> destinations;
  for (auto* p : parameters) destinations.emplace_back(p->name, &p->value);
  read_tensors(SafetensorsFile(path), destinations);
}

}  // namespace retort
