#include "retort/core/shape.hpp"
#include "retort/distill/gkd.hpp"
#include "retort/io/json.hpp"
