#pragma once

#include <string_view>

/// The library's version, and the only place where it is written: CMake reads it from here.
namespace retort {

inline constexpr int version_major = 0;
inline constexpr int version_minor = 1;
inline constexpr int version_patch = 0;

/// "major.minor.patch", as it stands in the log of every run.
inline constexpr std::string_view version = "0.1.0";

}  // namespace retort
