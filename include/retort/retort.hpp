#pragma once

/// Everything that needs no more than Eigen and fmt: tensors to distillation. Reading and writing files
/// (retort/io) and training runs in folders (the rest of retort/training) are included by name; they need
/// nlohmann_json.
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
