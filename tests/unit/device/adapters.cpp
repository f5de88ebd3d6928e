// LoRA adapters of models on the device: written, read and merged.
#include "folder.hpp"
#include "retort/io/peft.hpp"
#include "retort/models/decoder_families.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// Adapters that are not zero, written for PEFT, read into the same model without them, and merged.
template <class T>
void check_lora() {
  using Model = Decoder<Cuda<T>, Llama>;
  const Folder folder("device_lora_");
  Model plain(grouped_config(), {1, 1});
  Model model(grouped_config(), {1, 1});
  add_lora(model, peft_sites(model, {"q_proj", "down_proj"}), {.rank = 2, .alpha = 4}, {3, 4});
  std::uint64_t stream = 50;
  for (auto* p : parameters(model))
    if (p->trainable)
      kernels::fill_normal(CudaDevice{}, {7, ++stream}, p->value.size(), 0.0f, 0.1f, p->value.data());
  save_peft(model, folder / "adapter");
  Model again(grouped_config(), {1, 1});
  const LoraConfig config = load_peft(again, folder / "adapter");
  CHECK(config.rank == 2);
  CHECK((weights_of(again) == weights_of(model)));
  CHECK(SafetensorsFile(folder / "adapter" / "adapter_model.safetensors")
            .dtype("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight") ==
        (sizeof(T) == 2 ? "BF16" : "F32"));

  Decoder<D, Llama> on_cpu(grouped_config(), {1, 1});
  copy_weights(plain, on_cpu);
  (void)load_peft(on_cpu, folder / "adapter");
  merge_lora(on_cpu);
  merge_lora(again);
  CHECK_FALSE(weights_of(again) == weights_of(plain));
  CHECK(relative_difference(weights_of(again), weights_of(on_cpu)) <= device_tolerance<T>);
}

}  // namespace

TEST_CASE("adapters of the device's models are read as they were written, and merged") {
  RETORT_NEED_DEVICE();
  SECTION("float") {
    check_lora<float>();
  }
  SECTION("bf16") {
    check_lora<bf16>();
  }
}
