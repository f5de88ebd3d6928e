// The generalised Jensen-Shannon loss and its gradient against TRL's, see
// tests/parity/trl/make_jsd_fixture.py.
#include <filesystem>

#include "catch.hpp"
#include "retort/distill/objective.hpp"
#include "retort/io/safetensors_file.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

using Numbers = std::vector<double>;

/// The fixture: logits of sequences padded to one length, (sequences, length, vocabulary).
class Trl {
 public:
  Index sequences = 0, length = 0, vocabulary = 0;
  Numbers student, teacher, betas, temperatures;
  std::vector<std::int64_t> labels;

  Trl() : file_(std::filesystem::path(RETORT_TESTS_DIR) / "parity" / "trl" / "jsd.safetensors") {
    const Shape shape = file_.shape("student");
    sequences = shape[0], length = shape[1], vocabulary = shape[2];
    student = numbers("student"), teacher = numbers("teacher");
    betas = numbers("betas"), temperatures = numbers("temperatures");
    labels = file_.read<std::int64_t>("labels");
  }

  /// What the fixture says of pair number `at` of beta and temperature.
  [[nodiscard]] Numbers of_pair(const std::string& name, std::size_t at) const {
    const Numbers all = numbers(name);
    const auto size = std::ssize(all) / std::ssize(betas) / std::ssize(temperatures);
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(at) * size;
    return {begin, begin + size};
  }

  /// The packed rows of the positions of sequences [first, last) that count.
  [[nodiscard]] Numbers packed(const Numbers& padded, Index first, Index last) const {
    Numbers rows;
    for (Index r = first * length; r < last * length; ++r)
      if (counts(r))
        rows.insert(rows.end(), padded.begin() + r * vocabulary, padded.begin() + (r + 1) * vocabulary);
    return rows;
  }
  /// Responses of as many tokens.
  [[nodiscard]] Sequences responses(Index first, Index last) const {
    Sequences out;
    for (Index s = first; s < last; ++s) {
      std::vector<std::int32_t> tokens;
      for (Index r = s * length; r < (s + 1) * length; ++r)
        if (counts(r)) tokens.push_back(0);
      out.push_back(tokens);
    }
    return out;
  }

 private:
  SafetensorsFile file_;

  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
  [[nodiscard]] bool counts(Index r) const { return labels[at(r)] != -100; }
  [[nodiscard]] Numbers numbers(const std::string& name) const { return file_.read<double>(name); }
};

/// The library's loss of rows of logits. TRL's beta is the teacher's share, as ours is, and at its ends one
/// of the Kullback-Leibler divergences.
template <class T>
Outcome loss_of(double beta, double temperature, const Numbers& student, const Numbers& teacher,
                const Numbers& weights) {
  if (beta == 0) return by_library<T>(ForwardKl{}, student, teacher, temperature, weights);
  if (beta == 1) return by_library<T>(ReverseKl{}, student, teacher, temperature, weights);
  return by_library<T>(Jsd{beta}, student, teacher, temperature, weights);
}

/// f(beta, temperature, number of the pair) for all of them.
template <class F>
void each_pair(const Trl& trl, F f) {
  std::size_t at = 0;
  for (const double beta : trl.betas)
    for (const double temperature : trl.temperatures) {
      CAPTURE(beta, temperature);
      f(beta, temperature, at++);
    }
  REQUIRE(at == 15);
}

void check_same(const Outcome& given, double loss, const Numbers& gradient, double tolerance) {
  CHECK(std::abs(given.value - loss) <= tolerance);
  CHECK(difference(given.gradient, gradient) <= tolerance);
}

/// Weights of a reduction, of the sequences [first, last).
Numbers weights_of(const Trl& trl, Index first, Index last, const Normaliser& total) {
  return row_weights<Cpu<double>>(trl.responses(first, last), Reduction::per_token, total).to_host();
}

}  // namespace

TEST_CASE("loss and gradient are TRL's for every beta and temperature, labels of -100 left out") {
  const Trl trl;
  const Index n = trl.sequences;
  const auto total = Normaliser::of(trl.responses(0, n));
  REQUIRE(total.tokens < n * trl.length);
  const Numbers weights = weights_of(trl, 0, n, total);
  const Numbers student = trl.packed(trl.student, 0, n), teacher = trl.packed(trl.teacher, 0, n);
  each_pair(trl, [&](double beta, double temperature, std::size_t at) {
    const double loss = trl.of_pair("masked.loss", at).at(0);
    const Numbers gradient = trl.packed(trl.of_pair("masked.gradient", at), 0, n);
    check_same(loss_of<double>(beta, temperature, student, teacher, weights), loss, gradient, 1e-9);
    check_same(loss_of<float>(beta, temperature, student, teacher, weights), loss, gradient, 1e-5);
    CHECK(std::ranges::max(gradient) > 1e-3);
  });
}

TEST_CASE("a part of a batch, divided by the tokens of all of it, is TRL's with num_items_in_batch") {
  const Trl trl;
  const auto total = Normaliser::of(trl.responses(0, trl.sequences));
  each_pair(trl, [&](double beta, double temperature, std::size_t at) {
    const Numbers losses = trl.of_pair("parts.loss", at), gradient = trl.of_pair("masked.gradient", at);
    for (Index s = 0; s < trl.sequences; ++s) {
      CAPTURE(s);
      const auto part = [&](const Numbers& padded) { return trl.packed(padded, s, s + 1); };
      check_same(loss_of<double>(beta, temperature, part(trl.student), part(trl.teacher),
                                 weights_of(trl, s, s + 1, total)),
                 losses.at(static_cast<std::size_t>(s)), part(gradient), 1e-9);
    }
  });
}

TEST_CASE("without labels TRL divides the sum over all positions by the number of sequences") {
  const Trl trl;
  const Numbers weights(static_cast<std::size_t>(trl.sequences * trl.length),
                        1.0 / static_cast<double>(trl.sequences));
  each_pair(trl, [&](double beta, double temperature, std::size_t at) {
    check_same(loss_of<double>(beta, temperature, trl.student, trl.teacher, weights),
               trl.of_pair("whole.loss", at).at(0), trl.of_pair("whole.gradient", at), 1e-9);
  });
}
