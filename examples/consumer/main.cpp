#include <retort/retort.hpp>

// The gradient of a cross-entropy on a tape, and an error that helps.
int main() {
  using namespace retort;
  using B = Cpu<float>;
  Tape<B> tape;
  const auto logits = tape.leaf(TensorOf<B>::from({1, 3}, {1.0f, 0.0f, -1.0f}));
  const auto targets = IndexTensor<B>::from({1}, {2});
  tape.backward(cross_entropy(logits, targets));
  const auto gradient = tape.gradient(logits).to_host();
  fmt::print("retort {}: gradient {:.4f} {:.4f} {:.4f}\n", version, gradient[0], gradient[1], gradient[2]);
  try {
    (void)add(logits, Variable<B>(TensorOf<B>::zeros({3})));
  } catch (const Error& error) {
    fmt::print("{}\n", error.what());
  }
}
