#include <nlohmann/json.hpp>
#include "retort/core/shape.hpp"
