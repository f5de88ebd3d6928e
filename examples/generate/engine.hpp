#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generate/settings.hpp"

/// A model and its decoding behind an interface: what takes long to compile.
namespace generator {

/// A sequence to continue or to answer.
struct Request {
  std::vector<std::int32_t> tokens;
  std::uint64_t stream = 0;  ///< of random numbers: the same seed and stream give the same response
};

/// A response with the log-probability of each token, the end token included.
struct Response {
  std::vector<std::int32_t> tokens;
  std::vector<double> log_probabilities;
  double score = 0;       ///< of a beam search
  bool finished = false;  ///< by an end token
};

/// The responses to each request, and how the draft has fared if there is one.
struct Responses {
  std::vector<std::vector<Response>> of;
  Index judged = 0, accepted = 0;  ///< proposals of the draft
  Index passes = 0;                ///< of the model over a sequence with proposals, the prompt's included
};

/// Called with every token of a single request as it comes.
using OnToken = std::function<void(std::int32_t)>;

/// A model of a Hugging Face folder on some backend.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  virtual ~Engine() = default;

  [[nodiscard]] virtual std::string family() const = 0;
  [[nodiscard]] virtual Index vocabulary() const = 0;
  [[nodiscard]] virtual Index parameters() const = 0;
  [[nodiscard]] virtual bool is_decoder() const = 0;

  /// Tokens of a prompt and its response together, the last one not counted, at most; nothing if any number.
  [[nodiscard]] virtual std::optional<Index> positions() const = 0;

  /// The model that proposes tokens; nullptr if there is none.
  [[nodiscard]] virtual const Engine* draft() const = 0;

  /// The responses to each request: one, or of a beam search `settings.samples`, best first. A request is
  /// drawn or decoded greedily as the settings say.
  [[nodiscard]] virtual Responses respond(const std::vector<Request>& requests, const Settings& settings,
                                          const std::vector<std::int32_t>& end_tokens,
                                          const OnToken& on_token) const = 0;
};

/// Loads the model of a folder, and that of `draft` if there is one. Throws FileError, see HuggingFaceFolder.
/// Compiled in load.cpp, once for each backend.
template <retort::Backend B>
[[nodiscard]] std::unique_ptr<Engine> load_engine(const std::filesystem::path& folder,
                                                  const std::optional<std::string>& draft);

}  // namespace generator
