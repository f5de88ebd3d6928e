// Optimizer steps, in float; AdamW for models in bf16, too.
#include "retort/kernels/cuda/update.cuh"

namespace retort::kernels {

template void adamw<float>(CudaDevice, const AdamWStep&, Index, float*, const float*, float*, float*);
template void adamw_mixed<bf16>(CudaDevice, const AdamWStep&, Index, float*, const bf16*, float*, float*,
                                bf16*);
template void sgd<float>(CudaDevice, const SgdStep&, Index, float*, const float*, float*);
template void adafactor_factored<float>(CudaDevice, const AdafactorStep&, Index, Index, Index, float*,
                                        const float*, float*, float*, float*);
template void adafactor_whole<float>(CudaDevice, const AdafactorStep&, Index, float*, const float*, float*,
                                     float*);

}  // namespace retort::kernels
