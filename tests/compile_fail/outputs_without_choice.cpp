// Where outputs come from is a policy with `choose`, not a number.
// expect: Gkd: outputs need choose\(u\), which returns a Source
#include "retort/distill/gkd.hpp"

int main() {
#ifdef RETORT_OK
  const retort::Gkd<retort::Jsd, retort::Mixed> recipe{.outputs = {.lambda = 0.5}};
#else
  const retort::Gkd<retort::Jsd, double> recipe{.outputs = 0.5};
#endif
  return recipe.max_tokens == 128 ? 0 : 1;
}
