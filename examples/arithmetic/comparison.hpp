#pragma once

#include "arithmetic/settings.hpp"

namespace arithmetic {

/// The whole experiment on a backend: trains teacher and students, prints the table, and writes results and
/// pictures. Throws support::Stopped after Ctrl-C. Compiled in comparison.cpp, once for each backend.
template <retort::Backend B>
void compare(const Settings& settings);

}  // namespace arithmetic
