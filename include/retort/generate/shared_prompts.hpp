#pragma once

#include <map>
#include <vector>

#include "retort/models/language_model.hpp"

namespace retort {

/// Starts decoding `prompts` as model.start does, to the same bits, but reads a prompt that stands there
/// several times once: several samples of a prompt share its pass, and copy what it leaves in the cache.
template <LanguageModel M>
[[nodiscard]] DecodeState<typename M::Backend> start_shared(const M& model, const Sequences& prompts,
                                                            Index room) {
  std::map<std::vector<std::int32_t>, std::int32_t> seen;
  std::vector<std::int32_t> row_of;  // of each prompt among the different ones
  Sequences different;
  for (int i = 0; i < prompts.size(); ++i) {
    const auto tokens = prompts[i];
    const auto [place, fresh] =
        seen.try_emplace({tokens.begin(), tokens.end()}, static_cast<std::int32_t>(different.size()));
    if (fresh) different.push_back(tokens);
    row_of.push_back(place->second);
  }
  if (different.size() == prompts.size()) return model.start(prompts, room);
  auto state = model.start(different, room);
  state.cache.reserve(prompts.size());
  state.select(row_of);
  return state;
}

}  // namespace retort
