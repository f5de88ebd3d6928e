#pragma once

#include "arithmetic/settings.hpp"

namespace arithmetic {

/// Thrown to leave the experiment after Ctrl-C; everything is saved.
struct Stopped {};

/// The whole experiment on a backend: trains teacher and students, prints the table, and writes results and
/// pictures. Compiled in comparison.cpp, once for each backend.
template <retort::Backend B>
void compare(const Settings& settings);

}  // namespace arithmetic
