#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tiny_models.hpp"

/// Both model families a second time, token by token in plain loops over vectors of double, straight from the
/// papers. Nothing of the library is used but the weights, found by their names.
namespace retort::test::naive {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;  ///< a row a token

inline Vector plus(Vector a, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

inline double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline Vector part(const Vector& x, std::size_t first, std::size_t count) {
  return {x.begin() + static_cast<std::ptrdiff_t>(first),
          x.begin() + static_cast<std::ptrdiff_t>(first + count)};
}

/// Weighted sum of `values`, weights softmax(scores).
inline Vector attend(const Vector& scores, const Matrix& values) {
  double total = 0;
  for (const double s : scores) total += std::exp(s);
  Vector out(values[0].size(), 0.0);
  for (std::size_t j = 0; j < scores.size(); ++j)
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += std::exp(scores[j]) / total * values[j][d];
  return out;
}

/// GELU with the tanh approximation.
inline double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/// The weights of a model by name, and the layers as functions of one token's vector.
class Weights {
 public:
  template <class Model>
  explicit Weights(Model& model) {
    for (const auto* p : parameters(model)) {
      Matrix& rows = matrices_[p->name];
      const auto values = p->value.to_host();
      const auto width = static_cast<std::size_t>(p->shape().last());
      for (std::size_t at = 0; at < values.size(); at += width)
        rows.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(at),
                          values.begin() + static_cast<std::ptrdiff_t>(at + width));
    }
  }

  [[nodiscard]] const Matrix& matrix(const std::string& name) const { return matrices_.at(name); }
  [[nodiscard]] const Vector& vector(const std::string& name) const { return matrices_.at(name).at(0); }

  [[nodiscard]] Vector linear(const std::string& name, const Vector& x) const {
    Vector y;
    for (const Vector& row : matrix(name + ".weight")) y.push_back(dot(row, x));
    return matrices_.contains(name + ".bias") ? plus(y, vector(name + ".bias")) : y;
  }
  [[nodiscard]] Vector layer_norm(const std::string& name, const Vector& x) const {
    const auto n = static_cast<double>(x.size());
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / n;
    for (const double v : x) variance += (v - mean) * (v - mean) / n;
    Vector y = vector(name + ".bias");
    for (std::size_t i = 0; i < x.size(); ++i)
      y[i] += (x[i] - mean) / std::sqrt(variance + 1e-5) * vector(name + ".gain")[i];
    return y;
  }
  [[nodiscard]] Vector rms_norm(const std::string& name, Vector x) const {
    const double mean_square = dot(x, x) / static_cast<double>(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] *= vector(name + ".gain")[i] / std::sqrt(mean_square + 1e-6);
    return x;
  }

 private:
  std::map<std::string, Matrix> matrices_;
};

/// GPT-2: the logits after every token of `tokens`.
inline Matrix gpt2(const Weights& w, const DecoderConfig& c, const Ids& tokens) {
  const auto heads = static_cast<std::size_t>(c.heads), width = static_cast<std::size_t>(c.width),
             d = width / heads;
  Matrix x;
  for (std::size_t t = 0; t < tokens.size(); ++t)
    x.push_back(
        plus(w.matrix("token.weight")[static_cast<std::size_t>(tokens[t])], w.matrix("position.weight")[t]));
  for (Index layer = 0; layer < c.layers; ++layer) {
    const std::string name = "block." + std::to_string(layer) + ".";
    Matrix qkv;
    for (const Vector& v : x)
      qkv.push_back(w.linear(name + "attention.qkv", w.layer_norm(name + "attention_norm", v)));
    for (std::size_t t = 0; t < x.size(); ++t) {
      Vector joined;
      for (std::size_t h = 0; h < heads; ++h) {
        Vector scores;
        Matrix values;
        for (std::size_t s = 0; s <= t; ++s) {
          scores.push_back(dot(part(qkv[t], h * d, d), part(qkv[s], width + h * d, d)) /
                           std::sqrt(double(d)));
          values.push_back(part(qkv[s], 2 * width + h * d, d));
        }
        const Vector o = attend(scores, values);
        joined.insert(joined.end(), o.begin(), o.end());
      }
      x[t] = plus(x[t], w.linear(name + "attention.output", joined));
      Vector hidden = w.linear(name + "ff.up", w.layer_norm(name + "ff_norm", x[t]));
      for (double& v : hidden) v = gelu(v);
      x[t] = plus(x[t], w.linear(name + "ff.down", hidden));
    }
  }
  Matrix logits;
  for (const Vector& v : x) {
    const Vector h = w.layer_norm("norm", v);
    logits.emplace_back();
    for (const Vector& e : w.matrix("token.weight")) logits.back().push_back(dot(e, h));
  }
  return logits;
}

/// T5 as its paper and Mesh TensorFlow have it; `gated` for v1.1.
class NaiveT5 {
 public:
  NaiveT5(const Weights& weights, const EncoderDecoderConfig& config, bool gated)
      : w_(weights),
        c_(config),
        gated_(gated),
        inner_(static_cast<std::size_t>(config.heads * config.head_width)) {}

  /// Logits of every response token.
  [[nodiscard]] Matrix logits(const Ids& prompt, const Ids& response) const {
    Matrix encoded = embed(prompt);
    for (Index i = 0; i < c_.encoder_layers; ++i) {
      const std::string name = "encoder.block." + std::to_string(i) + ".";
      self_attention(name, "encoder", true, encoded);
      feed_forward(name, encoded);
    }
    for (Vector& v : encoded) v = w_.rms_norm("encoder.norm", v);

    Ids inputs{c_.start_token};
    inputs.insert(inputs.end(), response.begin(), response.end() - 1);
    Matrix x = embed(inputs);
    for (Index i = 0; i < c_.decoder_layers; ++i) {
      const std::string name = "decoder.block." + std::to_string(i) + ".";
      self_attention(name, "decoder", false, x);
      cross_attention(name, encoded, x);
      feed_forward(name, x);
    }
    Matrix out;
    for (const Vector& v : x) {
      Vector h = w_.rms_norm("decoder.norm", v);
      if (!gated_)
        for (double& e : h) e /= std::sqrt(static_cast<double>(c_.width));
      out.emplace_back();
      for (const Vector& row : w_.matrix(gated_ ? "head.weight" : "shared.weight"))
        out.back().push_back(dot(row, h));
    }
    return out;
  }

 private:
  const Weights& w_;
  const EncoderDecoderConfig& c_;
  bool gated_;
  std::size_t inner_;

  [[nodiscard]] Matrix embed(const Ids& tokens) const {
    Matrix x;
    for (const auto t : tokens) x.push_back(w_.matrix("shared.weight")[static_cast<std::size_t>(t)]);
    return x;
  }

  /// The bucket of key position - query position: half exact, half logarithmic, one half each way if
  /// bidirectional.
  [[nodiscard]] std::size_t bucket(int relative, bool bidirectional) const {
    auto buckets = static_cast<int>(c_.buckets), start = 0;
    if (bidirectional) {
      buckets /= 2;
      if (relative > 0) start = buckets;
      relative = std::abs(relative);
    } else {
      relative = -std::min(relative, 0);
    }
    const int exact = buckets / 2;
    int within = relative;
    if (relative >= exact)
      within = std::min(buckets - 1, exact + static_cast<int>(std::log(relative / double(exact)) /
                                                              std::log(double(c_.max_distance) / exact) *
                                                              (buckets - exact)));
    return static_cast<std::size_t>(start + within);
  }

  /// x += attention: queries of x to keys and values `from`, head by head; no scale.
  template <class Visible>
  void attention(const Matrix& q, const Matrix& k, const Matrix& v, const std::string& output, Visible score,
                 Matrix& x) const {
    const auto d = static_cast<std::size_t>(c_.head_width);
    for (std::size_t t = 0; t < x.size(); ++t) {
      Vector joined;
      for (std::size_t h = 0; h < static_cast<std::size_t>(c_.heads); ++h) {
        Vector scores;
        Matrix values;
        for (std::size_t s = 0; s < k.size(); ++s) {
          const double bias = score(t, s, h);
          if (bias == -HUGE_VAL) continue;
          scores.push_back(dot(part(q[t], h * d, d), part(k[s], h * d, d)) + bias);
          values.push_back(part(v[s], h * d, d));
        }
        const Vector o = values.empty() ? Vector(d, 0.0) : attend(scores, values);
        joined.insert(joined.end(), o.begin(), o.end());
      }
      x[t] = plus(x[t], w_.linear(output, joined));
    }
  }

  void self_attention(const std::string& name, const std::string& stack, bool bidirectional,
                      Matrix& x) const {
    Matrix q, k, v;
    for (const Vector& row : x) {
      const Vector qkv = w_.linear(name + "attention.qkv", w_.rms_norm(name + "attention_norm", row));
      q.push_back(part(qkv, 0, inner_));
      k.push_back(part(qkv, inner_, inner_));
      v.push_back(part(qkv, 2 * inner_, inner_));
    }
    const auto score = [&](std::size_t t, std::size_t s, std::size_t h) {
      if (!bidirectional && s > t) return -HUGE_VAL;
      return w_.matrix(
          stack + ".position.weight")[bucket(static_cast<int>(s) - static_cast<int>(t), bidirectional)][h];
    };
    attention(q, k, v, name + "attention.output", score, x);
  }

  void cross_attention(const std::string& name, const Matrix& encoded, Matrix& x) const {
    Matrix q, k, v;
    for (const Vector& row : x)
      q.push_back(w_.linear(name + "cross.q", w_.rms_norm(name + "cross_norm", row)));
    for (const Vector& row : encoded) {
      const Vector kv = w_.linear(name + "cross.kv", row);
      k.push_back(part(kv, 0, inner_));
      v.push_back(part(kv, inner_, inner_));
    }
    attention(
        q, k, v, name + "cross.output", [](auto...) { return 0.0; }, x);
  }

  void feed_forward(const std::string& name, Matrix& x) const {
    for (Vector& row : x) {
      const Vector n = w_.rms_norm(name + "ff_norm", row);
      Vector hidden = w_.linear(name + "ff.up", n);
      if (gated_) {
        const Vector gate = w_.linear(name + "ff.gate", n);
        for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] *= gelu(gate[i]);
      } else {
        for (double& v : hidden) v = std::max(v, 0.0);
      }
      row = plus(row, w_.linear(name + "ff.down", hidden));
    }
  }
};

}  // namespace retort::test::naive
