#pragma once

#include "retort/io/hugging_face/config_file.hpp"
#include "retort/io/hugging_face/placement.hpp"

namespace retort::hugging_face {

using Json = nlohmann::json;

/// How a family is stored in a Hugging Face folder; specialised for each in a file of its own:
///
///   model_type, architecture   of config.json
///   matches(file)    whether a config.json of this model_type is this family
///   read(file)       its configuration; FileError for a value that is not supported
///   write(config)    the reverse; ValueError for a model that the format cannot express
///   layout()         where the tensors stand
template <class Family>
struct Format;

/// Throws ValueError if the format of `model_type` cannot express a model.
inline void refuse(bool impossible, const char* model_type, const char* what) {
  if (impossible)
    fail<ValueError>("hugging_face", "a model of type {} cannot be written with {}", model_type, what);
}

}  // namespace retort::hugging_face
