#include <Eigen/Core>
  #  include <nlohmann/json.hpp>
