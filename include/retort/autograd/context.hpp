#pragma once

#include "retort/autograd/tape.hpp"
#include "retort/core/philox.hpp"

namespace retort {

/// What a forward pass needs besides its inputs: the tape (nullptr: record nothing, as for teachers and
/// sampling), whether the model trains (dropout acts), and the key of its random numbers. There is no global
/// state.
template <Backend B>
struct Context {
  Tape<B>* tape = nullptr;
  bool training = false;
  RandomKey key{};
  std::uint64_t draws = 0;  ///< random keys handed out so far in this pass
  bool record_frozen =
      false;  ///< diagnosis: ops on frozen parameters are recorded, and so checked, as well; do not propagate

  /// A parameter as an input of ops.
  [[nodiscard]] Variable<B> use(const Parameter<B>& parameter) const {
    return tape != nullptr && (parameter.trainable || record_frozen) ? tape->leaf(parameter)
                                                                     : Variable<B>(parameter.value);
  }

  /// A key of its own for each random op of the pass, the same in a recomputed pass.
  [[nodiscard]] RandomKey next_key() { return key.fork(draws++); }
};

}  // namespace retort
