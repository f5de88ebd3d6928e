#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/parallel.hpp"
#include "retort/io/hugging_face/tensors.hpp"

/// Weights from the memory map of the files into a model's parameters, converted on the way.
namespace retort::hugging_face {

namespace detail {

/// A block of a tensor: rows [first, first + rows) of the file's matrix of `columns` columns.
template <Backend B>
struct Block {
  const Tensors::Place* from;
  const Placement<B>* to;
  Index first, rows, columns;
};

/// Converts a block, into the host's memory of its parameter, and gives the file's pages back.
template <Backend B>
void read_block(const Block<B>& block, typename B::Scalar* parameter,
                std::vector<typename B::Scalar>& scratch) {
  using T = typename B::Scalar;
  const auto& dtype = block.from->dtype();
  const Index width = static_cast<Index>(dtype_bytes(dtype)) * block.columns;
  const auto bytes = block.from->bytes().subspan(static_cast<std::size_t>(block.first * width),
                                                 static_cast<std::size_t>(block.rows * width));
  const auto count = static_cast<std::size_t>(block.rows * block.columns);
  T* to = parameter + block.to->first();
  if (!block.to->transposed) {
    convert<T>(dtype, bytes.data(), std::span(to + block.first * block.columns, count));
  } else {  // the file's rows are the parameter's columns
    scratch.resize(count);
    convert<T>(dtype, bytes.data(), std::span(scratch));
    const Index stride = block.to->parameter->shape()[1];
    for (Index c = 0; c < block.columns; ++c)
      for (Index r = 0; r < block.rows; ++r)
        to[c * stride + block.first + r] = scratch[static_cast<std::size_t>(r * block.columns + c)];
  }
  block.from->file->drop(bytes);
}

/// What a tensor that is missing would be called: with the prefix that the files' other names have.
[[nodiscard]] inline std::string name_in_files(const Tensors& tensors, const FileLayout& layout,
                                               const std::string& name) {
  if (std::ranges::any_of(layout.bare, [&](auto begin) { return name.starts_with(begin); })) return name;
  for (const auto& [bare, place] : tensors.all())
    if (const auto prefix = place.name.size() - bare.size(); prefix > 0)
      return place.name.substr(0, prefix) + name;
  return name;
}

/// Converts blocks of any parameters. Those of a device are put together on the host, one at a time.
template <Backend B>
void read_blocks(std::vector<Block<B>> blocks) {
  using T = typename B::Scalar;
  // In the order of the files, so that the disk is read from front to back.
  std::ranges::stable_sort(blocks, {}, [](const auto& b) { return b.from->bytes().data(); });
  std::vector<std::vector<T>> scratch(static_cast<std::size_t>(thread_count()));
  const auto read = [&](std::span<const Block<B>> some, auto memory_of) {
    parallel_each(std::ssize(some), 2, [&](Index i) {
      const Block<B>& block = some[static_cast<std::size_t>(i)];
      read_block(block, memory_of(*block.to->parameter), scratch[static_cast<std::size_t>(thread_index())]);
    });
  };
  if constexpr (std::same_as<typename B::Device, CpuDevice>) {
    read(blocks, [](Parameter<B>& p) { return p.value.data(); });
  } else {
    std::vector<Parameter<B>*> order;
    std::map<const Parameter<B>*, std::vector<Block<B>>> of;
    for (const auto& block : blocks) {
      auto& own = of[block.to->parameter];
      if (own.empty()) order.push_back(block.to->parameter);
      own.push_back(block);
    }
    std::vector<T> host;
    for (auto* p : order) {
      host.resize(static_cast<std::size_t>(p->value.size()));
      read(of[p], [&](Parameter<B>&) { return host.data(); });
      memory::from_host(typename B::Device{}, host.data(), p->value.data(), p->value.size());
    }
  }
}

}  // namespace detail

/// Fills the parameters. `tied` says that the head is the token table, of which files may have copies under
/// other names. Throws one FileError with everything that does not fit: tensors that are missing, that nobody
/// asked for, that have another shape or hold no numbers; nothing is changed unless everything fits.
template <Backend B>
void load_weights(const Tensors& tensors, const FileLayout& layout,
                  const std::vector<Placement<B>>& placements, bool tied) {
  std::vector<std::string_view> copies = layout.copies;
  if (tied) copies.push_back(layout.head);
  const auto find = [&](std::string_view name) {
    const auto* place = tensors.find(name);
    for (std::size_t i = 0; place == nullptr && name == layout.embedding && i < copies.size(); ++i)
      place = tensors.find(copies[i]);
    return place;
  };
  std::string missing, extra, wrong;
  std::set<std::string_view> wanted(copies.begin(), copies.end());
  std::vector<detail::Block<B>> blocks;
  for (const auto& to : placements) {
    wanted.insert(to.name);
    const auto* from = find(to.name);
    if (from == nullptr) {
      missing += (missing.empty() ? "missing: " : ", ") + detail::name_in_files(tensors, layout, to.name);
    } else if (!(from->shape() == to.file_shape())) {
      wrong += fmt::format("{}{} has shape {} in the file, expected {}", wrong.empty() ? "" : "; ",
                           from->name, from->shape(), to.file_shape());
    } else if (const auto& dtype = from->dtype(); !can_write(dtype)) {
      wrong += fmt::format("{}{} holds {}, expected F32, BF16, F16 or F64", wrong.empty() ? "" : "; ",
                           from->name, dtype);
    } else {
      const Shape shape = to.file_shape();
      const Index rows = shape.rank() == 1 ? 1 : shape[0], columns = shape.last();
      const Index step =
          to.transposed ? 32 : std::max<Index>(1, (Index{1} << 19) / std::max<Index>(1, columns));
      for (Index first = 0; first < rows; first += step)
        blocks.push_back({from, &to, first, std::min(step, rows - first), columns});
    }
  }
  for (const auto& [name, place] : tensors.all())
    if (!wanted.contains(name) &&
        !std::ranges::any_of(layout.ignored, [&](auto end) { return name.ends_with(end); }))
      extra += (extra.empty() ? "not expected: " : ", ") + place.name;
  std::string problems;
  for (const auto& part : {missing, extra, wrong})
    if (!part.empty()) problems += (problems.empty() ? "" : "; ") + part;
  if (!problems.empty())
    fail<FileError>("load", "'{}' does not fit: {}", tensors.folder().string(), problems);

  detail::read_blocks(std::move(blocks));
}

/// Whether two tensors have the same bytes.
[[nodiscard]] inline bool equal_tensors(const Tensors::Place& a, const Tensors::Place& b) {
  const auto x = a.bytes(), y = b.bytes();
  if (a.dtype() != b.dtype() || x.size() != y.size()) return false;
  constexpr std::size_t step = 1 << 20;
  for (std::size_t at = 0; at < x.size(); at += step) {
    const std::size_t n = std::min(step, x.size() - at);
    const bool same = std::memcmp(x.data() + at, y.data() + at, n) == 0;
    a.file->drop(x.subspan(at, n)), b.file->drop(y.subspan(at, n));
    if (!same) return false;
  }
  return true;
}

}  // namespace retort::hugging_face
