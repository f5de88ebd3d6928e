#pragma once

#include <cstdint>
#include <vector>

#include "retort/core/philox.hpp"
#include "retort/core/scalar.hpp"
#include "retort/core/sequences.hpp"

namespace bench {

/// `count` sequences of `length` tokens in [2, vocabulary), the same for the same seed.
inline retort::Sequences random_sequences(int count, int length, retort::Index vocabulary,
                                          std::uint64_t seed) {
  retort::Sequences s;
  const retort::RandomKey key{seed, 1};
  for (int i = 0; i < count; ++i) {
    std::vector<std::int32_t> tokens;
    for (int t = 0; t < length; ++t)
      tokens.push_back(2 + static_cast<std::int32_t>(key.uniform(static_cast<std::uint64_t>(i) * 100000 +
                                                                 static_cast<std::uint64_t>(t)) *
                                                     static_cast<double>(vocabulary - 2)));
    s.push_back(tokens);
  }
  return s;
}

}  // namespace bench
