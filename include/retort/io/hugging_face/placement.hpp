#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "retort/autograd/parameter.hpp"

/// Where the tensors of a Hugging Face file stand in a model: one table a family, read in both directions.
namespace retort::hugging_face {

/// Which rows of a parameter a tensor of a file is.
enum class Part {
  all,
  queries,  ///< of a fused projection to queries, keys and values
  keys,
  values,
  first_half,  ///< the keys of a fused projection to keys and values
  second_half,
};

/// One line of a family's table: a layer's name in the file, without the prefix that all names have, and its
/// name in the model. `{}` stands for a block's number. The weight is called `.weight` in both (a norm's gain
/// `.gain` in the model), the bias `.bias`. A layer that a model does not have is skipped.
struct Rule {
  std::string_view file, model;
  Part part = Part::all;
  bool transposed = false;  ///< the file has the matrix as (inputs, outputs)
};

/// What a file of a family's weights looks like.
struct FileLayout {
  std::vector<Rule> rules{};
  std::vector<std::string_view>
      prefixes{};                        ///< names may begin with one of these; written ones with the first
  std::vector<std::string_view> bare{};  ///< names that begin like this are written without a prefix
  std::vector<std::string_view> ignored{};   ///< names that end like this hold nothing of the model
  std::string_view embedding{};              ///< the token table, ...
  std::vector<std::string_view> copies{};    ///< ... and names under which files have it again, or instead
  std::string_view head = "lm_head.weight";  ///< the head; where it is tied a copy of the token table
};

/// A tensor of a file and the rows of the parameter that it is.
template <Backend B>
struct Placement {
  std::string name;  ///< in the file, without prefix
  Parameter<B>* parameter;
  Index first_row, rows;
  bool transposed;

  /// Shape of the tensor in the file.
  [[nodiscard]] Shape file_shape() const {
    const Shape& shape = parameter->shape();
    if (shape.rank() == 1) return {rows};
    return transposed ? Shape{shape[1], rows} : Shape{rows, shape[1]};
  }
  /// The place in the parameter of the first element that the tensor holds.
  [[nodiscard]] Index first() const { return first_row * (parameter->value.size() / parameter->shape()[0]); }
};

namespace detail {

inline std::string with_number(std::string_view pattern, Index number) {
  const auto at = pattern.find("{}");
  if (at == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, at)) + std::to_string(number) + std::string(pattern.substr(at + 2));
}

/// First row and number of rows of a part of `rows` rows, of which the first `queries` are queries.
inline std::pair<Index, Index> rows_of(Part part, Index rows, Index queries) {
  const Index keys = (rows - queries) / 2;
  switch (part) {
    case Part::queries:
      return {0, queries};
    case Part::keys:
      return {queries, keys};
    case Part::values:
      return {queries + keys, keys};
    case Part::first_half:
      return {0, rows / 2};
    case Part::second_half:
      return {rows / 2, rows / 2};
    default:
      return {0, rows};
  }
}

}  // namespace detail

/// Width of all query heads of a model.
template <class Config>
[[nodiscard]] Index query_width(const Config& config) {
  return config.heads * config.head_width;
}

/// The table of a family for one model: every parameter, each row exactly once (else ValueError: the table is
/// wrong). `queries` is the width of all query heads.
template <Backend B>
[[nodiscard]] std::vector<Placement<B>> placements(const FileLayout& layout,
                                                   const ParameterList<B>& parameters, Index queries) {
  std::map<std::string, Parameter<B>*, std::less<>> by_name;
  for (auto* p : parameters) by_name[p->name] = p;
  std::map<std::string, Index> placed;
  std::vector<Placement<B>> all;
  const auto place = [&](const Rule& rule, const std::string& file, const std::string& model) {
    bool found = false;
    for (const auto& [of_model, of_file] :
         {std::pair{".weight", ".weight"}, {".gain", ".weight"}, {".bias", ".bias"}}) {
      const auto at = by_name.find(model + of_model);
      if (at == by_name.end()) continue;
      found = true;
      Parameter<B>& p = *at->second;
      const auto [first, rows] = detail::rows_of(rule.part, p.shape()[0], queries);
      all.push_back({file + of_file, &p, first, rows, rule.transposed && p.shape().rank() == 2});
      placed[p.name] += rows;
    }
    return found;
  };
  for (const Rule& rule : layout.rules) {
    const bool blocks = rule.model.find("{}") != std::string_view::npos;
    for (Index i = 0; place(rule, detail::with_number(rule.file, i), detail::with_number(rule.model, i)); ++i)
      if (!blocks) break;
  }
  for (const auto* p : parameters)
    if (placed[p->name] != p->shape()[0])
      fail<ValueError>("hugging_face", "the table places {} of {} rows of {}", placed[p->name], p->shape()[0],
                       p->name);
  return all;
}

}  // namespace retort::hugging_face
