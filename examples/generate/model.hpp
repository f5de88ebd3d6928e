#pragma once

#include "generate/engine.hpp"
#include "retort/models/any_model.hpp"

namespace generator {

using Backend = retort::Cpu<float>;

struct Engine::Model {
  retort::AnyModel<Backend> any;
};

}  // namespace generator
