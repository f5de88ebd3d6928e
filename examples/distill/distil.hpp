#pragma once

#include "distill/settings.hpp"

namespace distill {

/// The whole program on a backend: loads the models, trains the student, writes what becomes of it. Returns
/// the exit code. Compiled in distil.cpp, once for each backend.
template <retort::Backend B>
int distil(const Settings& settings);

}  // namespace distill
