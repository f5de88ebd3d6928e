#pragma once

/// Tensors to distillation: what most programs need, and no more than Eigen and fmt. Included by name are what
/// few need (other metrics of retort/eval, retort/distill/reuse.hpp and adaptive_fraction.hpp, models chosen at
/// run time), files (retort/io) and runs in folders (retort/training), which need nlohmann_json, tokenizers
/// (retort/text), which need more, and functions of the CUDA device itself (retort/kernels/cuda/runtime.hpp).
#include "retort/autograd/checkpoint.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/data/batches.hpp"
#include "retort/distill/gkd.hpp"
#include "retort/distill/minillm.hpp"
#include "retort/distill/rl_gkd.hpp"
#include "retort/distill/sparse_teacher.hpp"
#include "retort/eval/edit_distance.hpp"
#include "retort/eval/repetition.hpp"
#include "retort/generate/any_sampler.hpp"
#include "retort/generate/beam_search.hpp"
#include "retort/generate/first_tokens.hpp"
#include "retort/generate/speculative.hpp"
#include "retort/models/decoder.hpp"
#include "retort/models/encoder_decoder.hpp"
#include "retort/models/lora.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/cross_entropy.hpp"
#include "retort/ops/softmax.hpp"
#include "retort/optim/any_optimizer.hpp"
#include "retort/optim/clip.hpp"
#include "retort/optim/schedules.hpp"
#include "retort/training/step.hpp"
#include "retort/version.hpp"
