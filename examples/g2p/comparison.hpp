#pragma once

#include "g2p/settings.hpp"

namespace g2p {

/// The whole experiment on a backend: trains teacher and students, prints the table, and writes results and
/// picture. Throws support::Stopped after Ctrl-C. Compiled in comparison.cpp, once for each backend.
template <retort::Backend B>
void compare(const Settings& settings);

}  // namespace g2p
