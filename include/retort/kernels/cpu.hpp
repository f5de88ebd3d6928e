#pragma once

/// Every kernel of the CPU device.
#include "retort/kernels/cpu/adafactor.hpp"
#include "retort/kernels/cpu/attention.hpp"
#include "retort/kernels/cpu/gather.hpp"
#include "retort/kernels/cpu/gemm.hpp"
#include "retort/kernels/cpu/map.hpp"
#include "retort/kernels/cpu/norm.hpp"
#include "retort/kernels/cpu/random.hpp"
#include "retort/kernels/cpu/rotary.hpp"
#include "retort/kernels/cpu/row_loss.hpp"
#include "retort/kernels/cpu/softmax.hpp"
#include "retort/kernels/cpu/sparse_row_loss.hpp"
#include "retort/kernels/cpu/top_k.hpp"
#include "retort/kernels/cpu/update.hpp"
