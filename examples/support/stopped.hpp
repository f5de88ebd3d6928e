#pragma once

#include "retort/training/interrupt.hpp"

namespace support {

/// Thrown to leave a program after Ctrl-C; everything is saved.
struct Stopped {};

/// Throws Stopped if a stop was asked for, under the program's own InterruptGuard.
inline void leave_if_stopped() {
  if (retort::InterruptGuard::stop_requested()) throw Stopped{};
}

}  // namespace support
