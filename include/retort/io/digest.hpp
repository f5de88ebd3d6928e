#pragma once

#include <fmt/format.h>

#include <span>
#include <string>

#include "retort/autograd/parameter.hpp"
#include "retort/core/batch.hpp"
#include "retort/io/checksum.hpp"

/// Fingerprints of what a run depends on besides its settings, for its configuration: a run that continues
/// with other data or another teacher is another run.
namespace retort {

namespace detail {

inline std::string hexadecimal(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

}  // namespace detail

/// Of a data set: prompts, responses and ids.
[[nodiscard]] inline std::string digest(const Batch& data) {
  Checksum sum;
  const auto add = [&](const auto& values) { sum.update(std::as_bytes(std::span(values))); };
  for (const Sequences* s : {&data.prompts, &data.responses}) add(s->offsets), add(s->tokens);
  add(data.ids);
  return detail::hexadecimal(sum.value());
}

/// Of a model: names and weights.
template <class M>
[[nodiscard]] std::string digest_of_weights(const M& model) {
  Checksum sum;
  // each_parameter hands out parameters to change; here they are read.
  for (const auto* p : parameters(const_cast<M&>(model))) {
    sum.update(std::as_bytes(std::span(p->name)));
    const auto values = p->value.to_host();
    sum.update(std::as_bytes(std::span(values)));
  }
  return detail::hexadecimal(sum.value());
}

}  // namespace retort
