#pragma once

#include <utility>

#include "convert/model_folder.hpp"
#include "retort/models/any_model.hpp"

namespace convert {

using B = retort::Cpu<float>;

struct ModelFolder::Model {
  retort::AnyModel<B> any;
};

}  // namespace convert
