#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "retort/autograd/parameter.hpp"
#include "retort/io/safetensors.hpp"

/// The weights of a model as a safetensors file, under the names of its parameters.
namespace retort {

/// Where a tensor of a file goes.
template <Backend B>
struct TensorDestination {
  std::string name;  ///< in the file
  TensorOf<B>* tensor;
};

/// Reads exactly these tensors. Throws one FileError with all that does not fit: tensors that are missing,
/// tensors of the file that nobody asked for, wrong shapes, types that are not numbers of this kind. Nothing
/// is changed unless everything fits. `concerned(name)` is false for tensors of the file that may be left
/// over.
template <Backend B, class Concerned>
void read_tensors(const SafetensorsFile& file, const std::vector<TensorDestination<B>>& destinations,
                  Concerned concerned) {
  std::string missing, extra, wrong;
  std::set<std::string> wanted;
  for (const auto& [name, tensor] : destinations) {
    wanted.insert(name);
    if (!file.contains(name))
      missing += (missing.empty() ? "missing: " : ", ") + name;
    else if (const Shape shape = file.shape(name); !(shape == tensor->shape()))
      wrong += fmt::format("{}{} has shape {} in the file, expected {}", wrong.empty() ? "" : "; ", name,
                           shape, tensor->shape());
    else if (!file.can_read<typename B::Scalar>(name))
      wrong += fmt::format("{}{} holds {}", wrong.empty() ? "" : "; ", name, file.dtype(name));
  }
  for (const auto& name : file.names())
    if (!wanted.contains(name) && concerned(name)) extra += (extra.empty() ? "not expected: " : ", ") + name;
  std::string problems;
  for (const auto& part : {missing, extra, wrong})
    if (!part.empty()) problems += (problems.empty() ? "" : "; ") + part;
  if (!problems.empty()) fail<FileError>("load", "'{}' does not fit: {}", file.path().string(), problems);
  for (const auto& [name, tensor] : destinations) file.read(name, *tensor);
}
/// The same for files whose every tensor concerns the caller.
template <Backend B>
void read_tensors(const SafetensorsFile& file, const std::vector<TensorDestination<B>>& destinations) {
  read_tensors<B>(file, destinations, [](const std::string&) { return true; });
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
  std::vector<TensorDestination<B>> destinations;
  for (auto* p : parameters) destinations.push_back({p->name, &p->value});
  read_tensors<B>(SafetensorsFile(path), destinations);
}

}  // namespace retort
