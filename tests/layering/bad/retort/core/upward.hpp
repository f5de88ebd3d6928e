#pragma once

#include "retort/tensor/tensor.hpp"
