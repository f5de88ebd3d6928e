// Gradients of whole models against central differences, in double.
#include <limits>

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/ops/arithmetic.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// Checks the gradients of the hidden states, each weighted differently, and of a cross-entropy through the
/// head, in `elements` of each parameter, the first and the last among them. Some responses are empty.
template <class Model>
void check_model(Model model, Index elements) {
  Batch batch = tiny_batch(4);
  batch.push_back(Ids{3, 4}, Ids{}, 4);
  batch.push_back(indices(9, 11, 3), indices(8, 11, 4), 5);
  const auto list = parameters(model);
  const auto hidden = [&](Context<D>& context) {
    return model.hidden(context, batch.prompts, batch.responses);
  };
  const GradientCheck states = check_parameter_gradients<D>(hidden, list, elements);
  INFO(states.worst);
  CHECK(states.relative_error <= 1e-6);

  const Index n = batch.responses.total();
  const auto targets = IndexTensor<D>::from({n}, batch.responses.tokens);
  const auto weights = TensorOf<D>::from({n}, normals<double>(n, 5));
  const auto loss = [&](Context<D>& context) {
    const auto h = hidden(context);
    return scale(head_cross_entropy(context, model.head(), h, targets, weights, {.chunk_rows = 3}).value,
                 1.5);
  };
  const GradientCheck whole = check_parameter_gradients<D>(loss, list, elements);
  INFO(whole.worst);
  CHECK(whole.relative_error <= 1e-6);
}

}  // namespace

TEST_CASE("gradients of the smallest decoder and encoder-decoders, in every element of every parameter") {
  constexpr Index all = std::numeric_limits<Index>::max();
  auto decoder = tiny_decoder_config();
  decoder.width = 4, decoder.layers = 1, decoder.heads = 2, decoder.hidden = 5;
  check_model(tiny_decoder<D>(5, decoder), all);
  auto t5 = tiny_t5_config();
  t5.width = 4, t5.encoder_layers = 1, t5.decoder_layers = 1, t5.head_width = 3, t5.hidden = 5;
  check_model(tiny_t5<D, T5>(6, t5), all);
  check_model(tiny_t5<D, T5v11>(7, t5), all);
}

TEST_CASE("gradients of a whole decoder") {
  check_model(tiny_decoder<D>(5), 8);
}

TEST_CASE("gradients of whole encoder-decoders, deeper on either side, of both families") {
  for (const auto& [encoder, decoder] : {std::pair<Index, Index>{1, 3}, {3, 1}}) {
    CAPTURE(encoder, decoder);
    auto config = tiny_t5_config();
    config.encoder_layers = encoder;
    config.decoder_layers = decoder;
    check_model(tiny_t5<D, T5>(6, config), 8);
    check_model(tiny_t5<D, T5v11>(7, config), 8);
  }
}

TEST_CASE("gradients with dropout on are those of the masked function") {
  auto config = tiny_t5_config();
  config.dropout = 0.3;
  auto model = tiny_t5<D>(8, config);
  const Batch batch = tiny_batch(3);
  const auto f = [&](Context<D>& context) {
    context.training = true;
    context.key = {4, 4};
    return model.hidden(context, batch.prompts, batch.responses);
  };
  const GradientCheck check = check_parameter_gradients<D>(f, parameters(model), 12);
  INFO(check.worst);
  CHECK(check.relative_error <= 1e-6);
}

TEST_CASE("a parameter that is not trainable gets no gradient, the others theirs") {
  auto model = tiny_decoder<D>(5);
  const Batch batch = tiny_batch(3);
  const auto list = parameters(model);
  const auto run = [&] {
    clear_gradients(list);
    Tape<D> tape;
    Context<D> context{.tape = &tape};
    const auto h = model.hidden(context, batch.prompts, batch.responses);
    tape.backward(h, TensorOf<D>::full(h.shape(), 1));
  };
  run();
  const auto all = gradients(list);
  for (auto* p : list) p->trainable = p->name.find("attention") == std::string::npos;
  run();
  std::size_t at = 0;
  for (const auto* p : list) {
    CAPTURE(p->name);
    CHECK(p->has_grad == p->trainable);
    const auto size = static_cast<std::size_t>(p->value.size());
    if (p->trainable)
      CHECK(p->grad.to_host() == std::vector(all.begin() + static_cast<std::ptrdiff_t>(at),
                                             all.begin() + static_cast<std::ptrdiff_t>(at + size)));
    at += size;
  }
}
