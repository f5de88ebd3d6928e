// Models on the device written to files and read again: weights equal bit for bit, under the names of their
// types.
#include "folder.hpp"
#include "retort/io/digest.hpp"
#include "retort/io/hugging_face.hpp"
#include "retort/io/model_file.hpp"
#include "retort/models/decoder_families.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// A folder of the model's own type, and of the other, read on the device and on the CPU.
template <class T, class Model, class OnCpu>
void check_folder(const typename Model::Config& config) {
  const Folder folder("device_folder_");
  Model model(config, RandomKey{1, 1});
  save_hugging_face(model, folder / "own", {.dtype = sizeof(T) == 2 ? "BF16" : "F32"});
  save_hugging_face(model, folder / "wide", {.dtype = "F64"});
  const auto expected = weights_of(model);
  for (const char* name : {"own", "wide"}) {
    auto again = load_family<Model>(folder / name);
    CHECK((weights_of(again) == expected));
    auto on_cpu = load_family<OnCpu>(folder / name);
    CHECK((weights_of(on_cpu) == expected));
  }
}

template <class T>
void check_model_file() {
  const Folder folder("device_file_");
  auto model = tiny_t5<Cuda<T>>(1), other = tiny_t5<Cuda<T>>(2);
  const auto path = folder / "weights.safetensors";
  save_parameters(path, parameters(model));
  REQUIRE_FALSE(weights_of(other) == weights_of(model));
  load_parameters(path, parameters(other));
  CHECK((weights_of(other) == weights_of(model)));
  const SafetensorsFile file(path);
  for (const auto& name : file.names()) CHECK(file.dtype(name) == (sizeof(T) == 2 ? "BF16" : "F32"));
  CHECK(digest_of_weights(other) == digest_of_weights(model));
}

}  // namespace

TEST_CASE("a model of the device is read from its file as it was written") {
  RETORT_NEED_DEVICE();
  SECTION("float") {
    check_model_file<float>();
  }
  SECTION("bf16") {
    check_model_file<bf16>();
  }
}

TEST_CASE("a model of the device is read from its Hugging Face folder as it was written") {
  RETORT_NEED_DEVICE();
  SECTION("GPT-2, float") {
    check_folder<float, Decoder<Cuda<float>>, Decoder<D>>(tiny_decoder_config());
  }
  SECTION("GPT-2, bf16") {
    check_folder<bf16, Decoder<Cuda<bf16>>, Decoder<D>>(tiny_decoder_config());
  }
  SECTION("LLaMA, bf16") {
    check_folder<bf16, Decoder<Cuda<bf16>, Llama>, Decoder<D, Llama>>(grouped_config());
  }
  SECTION("T5, bf16") {
    check_folder<bf16, EncoderDecoder<Cuda<bf16>>, EncoderDecoder<D>>(tiny_t5_config());
  }
}
