// Models made of layers of another.
#include "retort/models/layer_subset.hpp"

#include "catch.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

template <class Model>
std::vector<float> weight(Model& model, const std::string& name) {
  for (auto* p : parameters(model))
    if (p->name == name) return p->value.to_host();
  return {};
}

}  // namespace

TEST_CASE("a student of some layers has their weights, in the order that was asked for, and all others") {
  auto config = tiny_decoder_config();
  config.layers = 4;
  auto teacher = tiny_decoder<F>(1, config);
  auto student = take_layers(teacher, {.layers = {3, 1}, .encoder_layers = {}});
  CHECK(student.config().layers == 2);
  for (const char* part : {"attention.qkv.weight", "ff.down.bias", "ff_norm.gain"}) {
    CHECK(weight(student, std::string("block.0.") + part) == weight(teacher, std::string("block.3.") + part));
    CHECK(weight(student, std::string("block.1.") + part) == weight(teacher, std::string("block.1.") + part));
  }
  CHECK(weight(student, "token.weight") == weight(teacher, "token.weight"));
  CHECK(weight(student, "position.weight") == weight(teacher, "position.weight"));

  // All layers, or no list: the teacher itself.
  const Batch batch = tiny_batch(3);
  const auto logits = [&](const auto& model) {
    return response_logits(model, batch.prompts, batch.responses).to_host();
  };
  CHECK(logits(take_layers(teacher, {.layers = {0, 1, 2, 3}, .encoder_layers = {}})) == logits(teacher));
  CHECK(logits(take_layers(teacher, {})) == logits(teacher));
  CHECK(logits(student) != logits(teacher));
}

TEST_CASE("the stacks of an encoder-decoder are cut separately") {
  auto teacher = tiny_t5<F>(2);  // 2 and 3 layers
  auto student = take_layers(teacher, {.layers = {0, 2}, .encoder_layers = {1}});
  CHECK(student.config().encoder_layers == 1);
  CHECK(student.config().decoder_layers == 2);
  CHECK(weight(student, "encoder.block.0.ff.up.weight") == weight(teacher, "encoder.block.1.ff.up.weight"));
  CHECK(weight(student, "decoder.block.1.cross.kv.weight") ==
        weight(teacher, "decoder.block.2.cross.kv.weight"));
  CHECK(weight(student, "decoder.position.weight") == weight(teacher, "decoder.position.weight"));
  CHECK(take_layers(teacher, {.layers = {1}, .encoder_layers = {}}).config().encoder_layers == 2);
}

TEST_CASE("layers that are not there are refused") {
  auto decoder = tiny_decoder<F>(1);
  auto t5 = tiny_t5<F>(2);
  CHECK(message_of<ValueError>([&] {
          (void)take_layers(decoder, {.layers = {0, 2}, .encoder_layers = {}});
        }) == "[take_layers] layer 2 of the decoder, which has 2 (0 to 1)");
  CHECK(message_of<ValueError>([&] {
          (void)take_layers(decoder, {.layers = {-1}, .encoder_layers = {}});
        }).starts_with("[take_layers] layer -1"));
  CHECK(message_of<ValueError>([&] { (void)take_layers(decoder, {.layers = {}, .encoder_layers = {0}}); }) ==
        "[take_layers] encoder layers were chosen, but a gpt2 model has none");
  CHECK(message_of<ValueError>([&] {
          (void)take_layers(t5, {.layers = {}, .encoder_layers = {2}});
        }).starts_with("[take_layers] layer 2 of the encoder"));
}
