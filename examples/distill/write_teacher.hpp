#pragma once

#include "distill/settings.hpp"

namespace distill {

/// Writes the teacher's file of --write-teacher: the most probable tokens at each response token of the
/// data's examples, held-out ones included, or of the teacher's samples for their prompts. Returns the exit
/// code.
template <retort::Backend B>
int write_teacher(const Settings& settings);

}  // namespace distill
