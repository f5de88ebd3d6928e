#pragma once

#include <algorithm>
#include <optional>

#include "retort/core/batch.hpp"
#include "retort/models/language_model.hpp"

namespace retort {

/// Throws ValueError, naming the first example, if `model` has too few positions for the longest response,
/// `max_tokens`, to one of `prompts`: what a run that samples asks before its first step, and not in the
/// middle. The last token of a response is not read again. `who` is the model in the message.
template <LanguageModel M>
void require_room(const char* op, const char* who, const M& model, const Batch& prompts, Index max_tokens) {
  const std::optional<Index> positions = positions_of(model);
  if (!positions) return;
  const Index longest = *positions - std::max<Index>(0, max_tokens - 1);  // prompt
  int count = 0, first = -1;
  for (int i = 0; i < prompts.size(); ++i)
    if (prompts.prompts.length(i) > longest && count++ == 0) first = i;
  if (count == 0) return;
  fail<ValueError>(
      op,
      "the prompt of example {} has {} tokens, which leaves no room for a response of {} in the "
      "{} positions of the {}; so do {} of {} prompts: leave them out or ask for shorter responses",
      prompts.ids[static_cast<std::size_t>(first)], prompts.prompts.length(first), max_tokens, *positions,
      who, count, prompts.size());
}

}  // namespace retort
