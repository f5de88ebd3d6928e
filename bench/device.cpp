// The works of bench/peers/gpu.py on retort's device: the same shapes, one JSON object a line.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/distill/gkd.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/models/decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/step.hpp"
#include "retort/version.hpp"
#include "support/device.hpp"
#include "support/floors.hpp"
#include "support/program.hpp"
#include "support/sequences.hpp"

namespace {

using namespace retort;
using bench::random_sequences, bench::random_tensor;
using nlohmann::json;

struct Sizes {
  DecoderConfig student{}, teacher{.width = 1024, .layers = 24, .heads = 16};
  int batch = 32, length = 1024;  // training
  Index loss_rows = 8192;
  int prompts = 64, prompt = 32, fresh = 128;  // decoding
  int gkd_prompts = 32;
  Index square = 8192;
  int rounds = 5;
};

Sizes tiny_sizes() {
  Sizes s;
  s.student = {.vocabulary = 101, .positions = 48, .width = 32, .layers = 2, .heads = 2};
  s.teacher = {.vocabulary = 101, .positions = 48, .width = 48, .layers = 3, .heads = 4};
  s.batch = 2, s.length = 16, s.loss_rows = 32, s.prompts = 3, s.prompt = 4, s.fresh = 6, s.gkd_prompts = 3;
  s.square = 64, s.rounds = 2;
  return s;
}

/// Prints a row as soon as it is known.
class Report {
 public:
  Report(std::string device, std::string dtype, const std::string& path)
      : device_(std::move(device)), dtype_(std::move(dtype)) {
    if (!path.empty()) file_.open(path);
  }
  void row(const char* work, const std::string& variant, double seconds, json more = json::object()) {
    json row = {{"work", work},       {"variant", variant}, {"dtype", dtype_},
                {"seconds", seconds}, {"device", device_},  {"retort", version}};
    row.update(more);
    fmt::print("{}\n", row.dump());
    std::fflush(stdout);
    if (file_.is_open()) file_ << row.dump() << std::endl;
  }

 private:
  std::string device_, dtype_;
  std::ofstream file_;
};

/// Median seconds of f over `rounds` calls after two that do not count.
template <class B, class F>
double seconds_of(int rounds, F f) {
  std::vector<double> all;
  for (int r = 0; r < rounds + 2; ++r) {
    const double began = bench::now_on<B>();
    f();
    const double seconds = bench::now_on<B>() - began;
    if (r >= 2) all.push_back(seconds);
  }
  return bench::median(all);
}

/// Seconds of one call among `many` in a row, for kernels that are shorter than a wait.
template <class B, class F>
double seconds_of_many(int many, F f) {
  return seconds_of<B>(3,
                       [&] {
                         for (int i = 0; i < many; ++i) f();
                       }) /
         many;
}

/// What the device can do, measured in this run: operations a second of a product, bytes a second (read and
/// written) of a copy.
struct Peak {
  double operations = 0, bytes = 0;
};

/// Next-token training of GPT-2: forward, cross-entropy, backward, AdamW.
template <class B>
void train(const Sizes& sizes, const Peak& peak, Report& report) {
  bench::reset_peak_bytes<B>();
  Decoder<B> model(sizes.student);
  const auto list = parameters(model);
  auto optimizer = AdamW{.learning_rate = 1e-4}.on(list);
  const Batch data = numbered(random_sequences(sizes.batch, 1, sizes.student.vocabulary, 1),
                              random_sequences(sizes.batch, sizes.length, sizes.student.vocabulary, 2));
  Tape<B> tape;
  std::vector<double> forward, backward, update;
  double loss_value = 0;
  const double seconds = seconds_of<B>(sizes.rounds, [&] {
    const double t0 = bench::now_on<B>();
    Context<B> context{.tape = &tape, .training = true};
    const auto loss = objective_loss(CrossEntropy{}, context, model, static_cast<const Decoder<B>*>(nullptr),
                                     data, Normaliser::of(data.responses));
    loss_value = loss.mean;
    const double t1 = bench::now_on<B>();
    tape.backward(loss.value);
    const double t2 = bench::now_on<B>();
    optimizer.step();
    forward.push_back(t1 - t0), backward.push_back(t2 - t1), update.push_back(bench::now_on<B>() - t2);
  });
  const double tokens = static_cast<double>(sizes.batch) * sizes.length;
  const double d = static_cast<double>(sizes.student.width * sizes.student.layers), t = sizes.length;
  const double flops = tokens * (6 * static_cast<double>(parameter_count(list)) + 6 * d * t);
  report.row("train", "gpt2", seconds,
             {{"shape", {sizes.batch, sizes.length}},
              {"tokens_per_second", tokens / seconds},
              {"tflops", flops / seconds / 1e12},
              {"share_of_matrix_peak", flops / seconds / peak.operations},
              {"peak_bytes", bench::peak_bytes<B>()},
              {"loss", loss_value},
              {"forward", bench::median(forward)},
              {"backward", bench::median(backward)},
              {"update", bench::median(update)}});
}

/// Both heads and the generalised JSD, forward and backward.
template <class B>
void jsd(const Sizes& sizes, Report& report, Index teacher_width, Index vocabulary) {
  const Index rows = sizes.loss_rows, width = sizes.student.width;
  Parameter<B> student("student", {vocabulary, width}), teacher("teacher", {vocabulary, teacher_width});
  student.value = random_tensor<B>(student.shape(), 1, 0.05);
  teacher.value = random_tensor<B>(teacher.shape(), 2, 0.05);
  const auto hidden = random_tensor<B>({rows, width}, 3, 1),
             teacher_hidden = random_tensor<B>({rows, teacher_width}, 4, 1);
  const auto weights = StatisticTensor<B>::full({rows}, 1 / static_cast<StatisticOf<B>>(rows));
  bench::reset_peak_bytes<B>();
  Tape<B> tape;
  const double seconds = seconds_of<B>(sizes.rounds, [&] {
    student.clear_grad();
    Context<B> context{.tape = &tape};
    const Variable<B> h = tape.leaf(hidden);
    const auto loss =
        head_divergence(context, Jsd{0.5}, Head<B>{&student}, h, Head<B>{&teacher}, teacher_hidden, weights);
    tape.backward(loss.value);
  });
  report.row("jsd", "fused", seconds,
             {{"shape", {rows, width, teacher_width, vocabulary}},
              {"tokens_per_second", static_cast<double>(rows) / seconds},
              {"peak_bytes", bench::peak_bytes<B>()}});
}

template <class B, class S>
void decode(const Sizes& sizes, const Peak& peak, Report& report, const char* variant, const S& sampler) {
  bench::reset_peak_bytes<B>();
  const Decoder<B> model(sizes.student);
  const Sequences prompts = random_sequences(sizes.prompts, sizes.prompt, sizes.student.vocabulary, 1);
  std::vector<std::uint64_t> ids(static_cast<std::size_t>(sizes.prompts));
  std::iota(ids.begin(), ids.end(), std::uint64_t{0});
  Index tokens = 0;
  const double seconds = seconds_of<B>(3, [&] {
    tokens = generate(model, prompts, ids, sampler, {.max_tokens = sizes.fresh, .end_token = -1, .key = {3}})
                 .responses.total();
  });
  Decoder<B> counted(sizes.student);
  // A step reads all weights, and the keys and values of all tokens so far.
  const auto bytes_of = [](double numbers) { return numbers * sizeof(typename B::Scalar); };
  const double weights = bytes_of(static_cast<double>(parameter_count(parameters(counted))));
  const double cached = bytes_of(2.0 * static_cast<double>(sizes.student.layers * sizes.student.width) *
                                 sizes.prompts * (sizes.prompt + 0.5 * sizes.fresh));
  report.row("generate", variant, seconds,
             {{"shape", {sizes.prompts, sizes.prompt, sizes.fresh}},
              {"seconds_per_step", seconds / sizes.fresh},
              {"tokens_per_second", static_cast<double>(tokens) / seconds},
              {"weight_bytes", weights},
              {"cache_bytes", cached},
              {"share_of_bandwidth_floor", (weights + cached) / peak.bytes / (seconds / sizes.fresh)},
              {"peak_bytes", bench::peak_bytes<B>()}});
}

/// A step of on-policy GKD: the student's samples, JSD(0.5) from the teacher, AdamW.
template <class B>
void on_policy(const Sizes& sizes, Report& report) {
  bench::reset_peak_bytes<B>();
  const Decoder<B> teacher(sizes.teacher);
  Decoder<B> student(sizes.student);
  auto optimizer = AdamW{.learning_rate = 1e-5}.on(parameters(student));
  auto recipe = recipes::gkd(Jsd{0.5}, 1);
  recipe.max_tokens = sizes.fresh, recipe.end_token = -1;
  const Batch batch = numbered(random_sequences(sizes.gkd_prompts, sizes.prompt, sizes.student.vocabulary, 1),
                               random_sequences(sizes.gkd_prompts, 1, sizes.student.vocabulary, 2));
  std::uint64_t step = 0;
  StepReport last;
  const double seconds = seconds_of<B>(3, [&] {
    last = training_step(recipe, student, &teacher, optimizer, batch, RandomKey{5, ++step});
  });
  const double sampling = seconds_of<B>(3, [&] {
    (void)recipe.responses(RandomKey{6, ++step}, student, &teacher, batch);
  });
  report.row("on_policy", "gkd", seconds,
             {{"shape", {sizes.gkd_prompts, sizes.prompt, sizes.fresh}},
              {"generate", sampling},
              {"tokens_per_second", static_cast<double>(last.tokens) / seconds},
              {"mean_divergence", last.mean},
              {"peak_bytes", bench::peak_bytes<B>()}});
}

/// The kernels of a training step by themselves, with what they move or compute a second.
template <class B>
void kernels_alone(const Sizes& sizes, Report& report) {
  using T = typename B::Scalar;
  using kernels::Op;
  const typename B::Device on{};
  const Index rows = Index{sizes.batch} * sizes.length, d = sizes.student.width, v = sizes.student.vocabulary;
  const double size = sizeof(T);
  const auto moved = [&](const char* name, double bytes, auto f) {
    const double s = seconds_of_many<B>(10, f);
    report.row("kernel", name, s, {{"gigabytes_per_second", bytes / s / 1e9}});
  };
  const auto computed = [&](const std::string& name, double flops, auto f) {
    const double s = seconds_of_many<B>(5, f);
    report.row("kernel", name, s, {{"tflops", flops / s / 1e12}});
  };
  const double n = static_cast<double>(rows * d);
  TensorOf<B> x = random_tensor<B>({rows, d}, 1, 1), y({rows, d}), z = random_tensor<B>({rows, d}, 2, 1);
  TensorOf<B> wide = random_tensor<B>({rows, 4 * d}, 3, 1), wide2({rows, 4 * d});
  const TensorOf<B> gain = TensorOf<B>::full({d}, T(1.0f)), bias = TensorOf<B>::zeros({d});
  StatisticTensor<B> mean({rows}), rstd({rows});
  TensorOf<B> dgain({d});
  const auto c = [](const auto& t) { return std::as_const(t).data(); };
  moved("copy", 2 * n * size, [&] { memory::copy(on, c(x), y.data(), x.size()); });
  moved("add", 3 * n * size,
        [&] { kernels::map(on, Write::overwrite, x.size(), functors::Add{}, y.data(), c(x), c(z)); });
  moved("gelu", 8 * n * size, [&] {
    kernels::map(on, Write::overwrite, wide.size(), functors::Activate<GeluTanh>{}, wide2.data(), c(wide));
  });
  moved("gelu gradient", 12 * n * size, [&] {
    kernels::map(on, Write::overwrite, wide.size(), functors::ActivateGradient<GeluTanh>{}, wide2.data(),
                 c(wide), c(wide));
  });
  moved("layer norm", 2 * n * size, [&] {
    kernels::layer_norm(on, rows, d, c(x), gain.data(), bias.data(), 1e-5f, y.data(), mean.data(),
                        rstd.data());
  });
  moved("layer norm, input gradient", 3 * n * size, [&] {
    kernels::norm_backward_input(on, Write::overwrite, rows, d, c(x), gain.data(), c(mean), c(rstd), c(z),
                                 y.data());
  });
  moved("layer norm, gain gradient", 2 * n * size, [&] {
    kernels::norm_backward_gain(on, Write::overwrite, rows, d, c(x), c(mean), c(rstd), c(z), dgain.data());
  });
  moved("sum of rows", n * size,
        [&] { kernels::sum_rows(on, Write::overwrite, rows, d, c(x), dgain.data()); });
  TensorOf<B> table = random_tensor<B>({v, d}, 4, 1);
  const auto ids = random_sequences(sizes.batch, sizes.length, v, 9);
  const auto index = IndexTensor<B>::from({rows}, ids.tokens);
  moved("take rows", 2 * n * size,
        [&] { kernels::take_rows(on, rows, d, c(table), c(index), StatisticOf<B>(1), y.data()); });
  moved("scatter-add rows", 3 * n * size,
        [&] { kernels::scatter_add_rows(on, rows, d, c(x), c(index), StatisticOf<B>(1), table.data()); });
  const Index loss_rows = std::min(sizes.loss_rows, Index{2048});
  for (const Index vocabulary : {v, (v + 7) / 8 * 8}) {
    TensorOf<B> student = random_tensor<B>({loss_rows, vocabulary}, 5, 1), teacher = student.clone();
    const auto weight = StatisticTensor<B>::full({loss_rows}, 1);
    Tensor<double, typename B::Device> losses({loss_rows});
    const double bytes = static_cast<double>(loss_rows * vocabulary) * size;
    moved(vocabulary == v ? "row loss, jsd" : "row loss, jsd, aligned", 3 * bytes, [&] {
      kernels::row_loss(on, Jsd{0.5}, {loss_rows, vocabulary, vocabulary, 1, true}, student.data(),
                        teacher.data(), c(weight), losses.data());
    });
    const auto targets = IndexTensor<B>::zeros({loss_rows});
    moved(vocabulary == v ? "cross-entropy" : "cross-entropy, aligned", 2 * bytes, [&] {
      kernels::cross_entropy(on, loss_rows, vocabulary, student.data(), c(targets), c(weight), true,
                             losses.data());
    });
  }
  const Index heads = sizes.student.heads, width = d / heads;
  TensorOf<B> qkv = random_tensor<B>({rows, 3 * d}, 6, 1), dqkv({rows, 3 * d});
  StatisticTensor<B> lse({rows, heads});
  kernels::Segments segments;
  for (int b = 0; b < sizes.batch; ++b) segments.add(Index{b} * sizes.length, sizes.length);
  const kernels::AttentionShape shape{.heads = heads,
                                      .kv_heads = heads,
                                      .width = width,
                                      .q_stride = 3 * d,
                                      .k_stride = 3 * d,
                                      .v_stride = 3 * d,
                                      .o_stride = d,
                                      .scale = 0.125,
                                      .causal = true};
  const double pairs =
      static_cast<double>(sizes.batch) * sizes.length * sizes.length / 2 * static_cast<double>(d);
  computed("attention", 4 * pairs, [&] {
    kernels::attention(on, shape, segments, segments, c(qkv), c(qkv) + d, c(qkv) + 2 * d,
                       static_cast<const T*>(nullptr), y.data(), lse.data());
  });
  computed("attention gradient", 10 * pairs, [&] {
    kernels::attention_backward<T>(on, shape, segments, segments, c(qkv), c(qkv) + d, c(qkv) + 2 * d, nullptr,
                                   c(y), c(lse), c(z),
                                   {dqkv.data(), dqkv.data() + d, dqkv.data() + 2 * d, nullptr});
  });
  // Rows of the logits begin at 16 bytes, as everywhere.
  const auto product = [&](Op a, Op b, Index m, Index nn, Index k) {
    const Index lda = logits_stride<B>(a == Op::none ? k : m), ldb = logits_stride<B>(b == Op::none ? nn : k),
                ldc = logits_stride<B>(nn);
    const TensorOf<B> left = random_tensor<B>({a == Op::none ? m : k, lda}, 7, 1),
                      right = random_tensor<B>({b == Op::none ? k : nn, ldb}, 8, 1);
    TensorOf<B> out({m, ldc});
    const char name_a = a == Op::none ? 'n' : 't', name_b = b == Op::none ? 'n' : 't';
    computed(fmt::format("gemm {}{} {} x {} x {}", name_a, name_b, m, k, nn),
             2.0 * static_cast<double>(m) * static_cast<double>(nn) * static_cast<double>(k), [&] {
               kernels::gemm(on, a, b, m, nn, k, StatisticOf<B>(1), left.data(), lda, right.data(), ldb,
                             StatisticOf<B>(0), out.data(), ldc);
             });
  };
  product(Op::none, Op::none, sizes.square, sizes.square, sizes.square);
  for (const Index out : {3 * d, 4 * d}) {
    product(Op::none, Op::transpose, rows, out, d);
    product(Op::none, Op::none, rows, d, out);
    product(Op::transpose, Op::none, out, d, rows);
  }
  if constexpr (std::same_as<B, Cuda<bf16>>) {  // the feed-forward network's, with its GELU
    const TensorOf<B> up = random_tensor<B>({4 * d, d}, 9, 0.05),
                      down = random_tensor<B>({d, 4 * d}, 10, 0.05),
                      up_bias = random_tensor<B>({4 * d}, 11, 1);
    const double flops = 8.0 * n * static_cast<double>(d);
    computed("gelu in a product", flops, [&] {
      kernels::linear_gelu(on, rows, 4 * d, d, c(x), up.data(), up_bias.data(), wide.data(), wide2.data());
    });
    computed("gelu gradient in a product", flops, [&] {
      kernels::linear_gelu_gradient(on, rows, 4 * d, d, c(x), down.data(), c(wide2), wide.data());
    });
    computed("gelu gradient after a product", flops, [&] {
      kernels::gemm(on, Op::none, Op::none, rows, 4 * d, d, 1.0f, c(x), d, down.data(), 4 * d, 0.0f,
                    wide.data(), 4 * d);
      kernels::map(on, Write::overwrite, wide.size(), functors::ActivateGradient<GeluTanh>{}, wide.data(),
                   c(wide), c(wide2));
    });
  }
  for (const Index vocabulary : {v, (v + 7) / 8 * 8}) {
    product(Op::none, Op::transpose, loss_rows, vocabulary, d);
    product(Op::none, Op::none, loss_rows, d, vocabulary);
    product(Op::transpose, Op::none, vocabulary, d, loss_rows);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Times retort on a device with the works and shapes of bench/peers/gpu.py; one JSON object a line.");
  std::vector<std::string> work{"train", "jsd", "generate", "on_policy", "kernels"};
  bench::DeviceFlags flags{"cuda", "bfloat16"};
  std::string out;
  bool tiny = false;
  app.add_option("--work", work, "what to time")
      ->check(CLI::IsMember({"train", "jsd", "generate", "on_policy", "kernels"}))
      ->delimiter(',');
  bench::add_device_flags(app, flags);
  app.add_option("--out", out, "also write the rows to this file");
  app.add_flag("--tiny", tiny, "toy sizes: whether it works");
  return support::run_program("device", app, argc, argv, [&] {
    bench::with_backend(flags, [&]<class B>(B) {
      const Sizes sizes = tiny ? tiny_sizes() : Sizes{};
      Report report(bench::device_name<B>(), flags.dtype, out);
      const auto floor_sizes = tiny ? bench::tiny_floor_sizes() : bench::FloorSizes{};
      const Peak peak{bench::arithmetic_peak<B>(floor_sizes), bench::memory_bandwidth<B>(floor_sizes)};
      report.row("peak", "product and copy", 0,
                 {{"tflops", peak.operations / 1e12}, {"gigabytes_per_second", peak.bytes / 1e9}});
      for (const auto& w : work) {
        if (w == "train") train<B>(sizes, peak, report);
        if (w == "jsd")
          for (const Index vocabulary : {sizes.student.vocabulary, tiny ? Index{203} : Index{128256}})
            for (const Index width : {sizes.student.width, sizes.teacher.width})
              jsd<B>(sizes, report, width, vocabulary);
        if (w == "generate") {
          decode<B>(sizes, peak, report, "greedy", Greedy{});
          decode<B>(sizes, peak, report, "sample", Temperature{1});
        }
        if (w == "on_policy") on_policy<B>(sizes, report);
        if (w == "kernels") kernels_alone<B>(sizes, report);
      }
    });
    return 0;
  });
}
