// What must not change loss and gradients: micro-batches, padding, threads, chunks of rows; in float.
#include "catch.hpp"
#include "retort/optim/adamw.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

/// Equal to 1e-6, relative to the loss and to the largest gradient.
void check_same(const Outcome& given, const Outcome& right) {
  REQUIRE(right.report.loss > 0.01);
  CHECK(std::abs(given.report.loss / right.report.loss - 1) <= 1e-6);
  CHECK(std::abs(given.report.mean / right.report.mean - 1) <= 1e-6);
  CHECK(given.report.tokens == right.report.tokens);
  CHECK(relative_difference(given.gradient, right.gradient) <= 1e-6);
}

/// Calls f(recipe) with recipes on data and on samples, in both reductions.
template <class Fn>
void each_recipe(Fn f) {
  for (const Reduction reduction : {Reduction::per_sequence, Reduction::per_token}) {
    auto sft = recipes::sft();
    auto supervised = recipes::supervised_kd();
    auto on_policy = recipes::gkd(Jsd{}, 1);
    sft.options.reduction = supervised.options.reduction = on_policy.options.reduction = reduction;
    on_policy.max_tokens = 6;
    f(sft), f(supervised), f(on_policy);
  }
}

template <class Model>
void check_all(Model student, const Model& teacher) {
  Batch batch = tiny_batch(11);
  batch.push_back(Ids{4}, Ids{}, 11);  // without tokens
  each_recipe([&](auto recipe) {
    const Outcome whole = step_without_update(recipe, student, teacher, batch);
    for (const int micro_batch : {1, 2, 5, 12, 100}) {
      CAPTURE(micro_batch);
      check_same(step_without_update(recipe, student, teacher, batch, micro_batch), whole);
    }
    for (const Index chunk_rows : {1, 3, 7, 1000}) {
      CAPTURE(chunk_rows);
      recipe.options.chunk_rows = chunk_rows;
      check_same(step_without_update(recipe, student, teacher, batch), whole);
    }
    recipe.options.chunk_rows = 0;
    for (const int threads : {1, 2, 3}) {
      CAPTURE(threads);
      const Threads scope(threads);
      check_same(step_without_update(recipe, student, teacher, batch), whole);
    }
  });
}

/// `sequences` through a rectangle: padded with `pad_id` on `side`, `extra` columns wider than need be.
Sequences through_padding(const Sequences& sequences, std::int32_t pad_id, Side side, int extra) {
  const PaddedTokens p = sequences.padded(pad_id, side, sequences.longest() + extra);
  return Sequences::from_padded(p.tokens, p.columns, p.mask);
}

}  // namespace

TEST_CASE("micro-batches, chunks of rows and threads change neither loss nor gradients of a decoder") {
  check_all(tiny_decoder<F>(1), tiny_decoder<F>(2));
}

TEST_CASE(
    "micro-batches, chunks of rows and threads change neither loss nor gradients of an encoder-decoder") {
  check_all(tiny_t5<F>(1), tiny_t5<F>(2));
}

TEST_CASE("the order of the examples changes neither loss nor gradients") {
  auto student = tiny_t5<F>(1);
  const auto teacher = tiny_t5<F>(2);
  const Batch batch = tiny_batch(9);
  const std::vector<int> rows{4, 0, 8, 2, 7, 1, 6, 3, 5};
  each_recipe([&](const auto& recipe) {
    check_same(step_without_update(recipe, student, teacher, batch.select(rows)),
               step_without_update(recipe, student, teacher, batch));
  });
}

TEST_CASE("padding on either side, of any width, even with the end token, changes nothing at all") {
  auto student = tiny_decoder<F>(1);
  const auto teacher = tiny_decoder<F>(2);
  const Batch batch = tiny_batch(9);
  const auto right = step_without_update(recipes::supervised_kd(), student, teacher, batch);
  for (const std::int32_t pad_id : {0, 1, 5})  // 1 is the end token, 5 an ordinary one
    for (const Side side : {Side::left, Side::right})
      for (const int extra : {0, 6}) {
        Batch padded = batch;
        padded.prompts = through_padding(batch.prompts, pad_id, side, extra);
        padded.responses = through_padding(batch.responses, pad_id, side, extra);
        const auto given = step_without_update(recipes::supervised_kd(), student, teacher, padded);
        CHECK(given.report.loss == right.report.loss);
        CHECK(given.gradient == right.gradient);
      }
}

TEST_CASE("the end token is learned even where the padding is the end token") {
  auto student = tiny_t5<F>(1);
  // Prompts 3 and 4 ask for answers of one and two tokens; the rectangle is filled up with 1, the end token.
  const Ids tokens{7, 1, 1, 8, 9, 1};
  const std::vector<std::uint8_t> mask{1, 1, 0, 1, 1, 1};
  const Batch batch = numbered(sequences({{3}, {4}}), Sequences::from_padded(tokens, 3, mask));
  const auto gradient_of = [&](const Batch& b) {
    return step_without_update(recipes::sft(), student, student, b).gradient;
  };
  CHECK(gradient_of(batch) != gradient_of(numbered(batch.prompts, sequences({{7}, {8, 9}}))));

  auto optimizer = AdamW{.learning_rate = 0.02}.on(parameters(student));
  for (std::uint64_t step = 0; step < 60; ++step)
    (void)training_step(recipes::sft(), student, static_cast<const EncoderDecoder<F, T5>*>(nullptr),
                        optimizer, batch, {1, step});
  const Generated answers =
      generate(student, batch.prompts, batch.ids, Greedy{}, {.max_tokens = 6, .end_token = 1});
  CHECK(answers.responses == batch.responses);
  CHECK(answers.finished == std::vector<bool>{true, true});
}
