#include <Eigen/Core>
#include "retort/core/shape.hpp"
