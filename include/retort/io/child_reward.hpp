#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/core/error.hpp"

/// A reward that another program computes: a classifier in Python, say.
namespace retort {

/// How a child process is asked for rewards.
struct ChildRewardOptions {
  std::string
      command;  ///< run by /bin/sh; it reads questions from its standard input and answers on its output
  double seconds = 60;  ///< how long one answer may take
  /// Text of token sequences; without it the program gets token ids alone.
  std::function<std::string(std::span<const std::int32_t>)> text = {};
};

/// Rewards from a child process over JSON lines. For every batch it gets one line,
///   {"prompts": [[2, 7], ...], "responses": [[4, 1], ...], "ids": [0, ...]}
/// with "prompt_texts" and "response_texts" as well if `text` is given, and must answer with one line
///   {"rewards": [0.5, ...]}
/// The process is started at the first question, and again at the next one after it has failed. Every failure
/// is an Error that says what went wrong: a process that dies or does not answer in time (it is then killed),
/// an answer that is no such line. Copies share the process. What it prints on stderr is passed on.
class ChildReward {
 public:
  explicit ChildReward(ChildRewardOptions options) : state_(std::make_shared<State>()) {
    state_->options = std::move(options);
  }

  [[nodiscard]] std::vector<double> operator()(const Batch& batch) const {
    State& s = *state_;
    nlohmann::json question{
        {"prompts", lists(batch.prompts)}, {"responses", lists(batch.responses)}, {"ids", batch.ids}};
    if (s.options.text) {
      question["prompt_texts"] = texts(batch.prompts, s.options.text);
      question["response_texts"] = texts(batch.responses, s.options.text);
    }
    if (s.process < 0) s.start();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(s.options.seconds);
    s.send(question.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", deadline);
    const std::string line = s.receive(deadline);
    const auto answer = nlohmann::json::parse(line, nullptr, false);
    if (!answer.is_object() || !answer.contains("rewards") || !answer["rewards"].is_array()) {
      s.stop();
      fail<ValueError>("reward", "'{}' answered '{}', expected {{\"rewards\": [...]}}", s.options.command,
                       line.substr(0, 200));
    }
    std::vector<double> rewards;
    for (const auto& r : answer["rewards"])
      rewards.push_back(r.is_number() ? r.get<double>()
                                      : std::nan(""));  // JSON has no NaN: null stands for it
    return rewards;
  }

 private:
  using Deadline = std::chrono::time_point<std::chrono::steady_clock, std::chrono::duration<double>>;

  struct State {
    ChildRewardOptions options;
    ::pid_t process = -1;
    int channel = -1;
    std::string read_ahead;

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { stop(); }

    void start() {
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        fail_with("cannot open a channel to");
      process = ::fork();
      if (process == 0) {
        ::setpgid(0, 0);  // a process group of its own: what it starts goes with it
        ::dup2(ends[1], 0);
        ::dup2(ends[1], 1);
        ::execl("/bin/sh", "sh", "-c", options.command.c_str(), static_cast<char*>(nullptr));
        ::_exit(127);
      }
      ::close(ends[1]);
      channel = ends[0];
      read_ahead.clear();
      if (process < 0) fail_with("cannot start");
    }

    void stop() {
      if (channel >= 0) ::close(std::exchange(channel, -1));
      if (process < 0) return;
      ::kill(-process, SIGKILL);
      ::kill(process, SIGKILL);
      ::waitpid(std::exchange(process, -1), nullptr, 0);
    }

    [[noreturn]] void fail_with(const char* what) {
      const int reason = errno;
      stop();
      fail<ValueError>("reward", "{} '{}': {}", what, options.command,
                       std::system_category().message(reason));
    }

    /// The other end was closed.
    [[noreturn]] void died() {
      if (channel >= 0) ::close(std::exchange(channel, -1));
      int status = 0, waits = 0;
      while (::waitpid(process, &status, WNOHANG) == 0 && ++waits < 100) ::usleep(10'000);
      if (waits == 100) {
        stop();
        fail<ValueError>("reward", "'{}' closed its output without an answer", options.command);
      }
      process = -1;
      fail<ValueError>("reward", "'{}' ended without an answer, {} {}", options.command,
                       WIFSIGNALED(status) ? "by signal" : "exit code",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }

    /// Waits until the channel is ready for `events`. An Error if the time is over.
    void wait(short events, Deadline deadline) {
      while (true) {
        const double left =
            std::chrono::duration<double>(deadline - std::chrono::steady_clock::now()).count();
        ::pollfd entry{channel, events, 0};
        const int ready = left > 0 ? ::poll(&entry, 1, static_cast<int>(std::min(left * 1000 + 1, 1e9))) : 0;
        if (ready > 0) return;
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) fail_with("cannot wait for");
        if (left > 0) continue;
        stop();
        fail<ValueError>("reward", "'{}' has not answered in {} seconds", options.command, options.seconds);
      }
    }

    void send(const std::string& line, Deadline deadline) {
      for (std::size_t at = 0; at < line.size();) {
        wait(POLLOUT, deadline);
        const ::ssize_t sent =
            ::send(channel, line.data() + at, line.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
          at += static_cast<std::size_t>(sent);
        else if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
          died();
        else if (sent < 0 && errno != EAGAIN && errno != EINTR)
          fail_with("cannot write to");
      }
    }

    std::string receive(Deadline deadline) {
      while (true) {
        if (const auto end = read_ahead.find('\n'); end != std::string::npos) {
          std::string line = read_ahead.substr(0, end);
          read_ahead.erase(0, end + 1);
          return line;
        }
        wait(POLLIN, deadline);
        char part[65536];
        const ::ssize_t got = ::recv(channel, part, sizeof part, MSG_DONTWAIT);
        if (got > 0)
          read_ahead.append(part, static_cast<std::size_t>(got));
        else if (got == 0 || errno == ECONNRESET)
          died();
        else if (errno != EAGAIN && errno != EINTR)
          fail_with("cannot read from");
      }
    }
  };

  std::shared_ptr<State> state_;

  [[nodiscard]] static nlohmann::json lists(const Sequences& sequences) {
    auto out = nlohmann::json::array();
    for (int i = 0; i < sequences.size(); ++i)
      out.push_back(std::vector<std::int32_t>(sequences[i].begin(), sequences[i].end()));
    return out;
  }
  template <class Text>
  [[nodiscard]] static nlohmann::json texts(const Sequences& sequences, const Text& text) {
    auto out = nlohmann::json::array();
    for (int i = 0; i < sequences.size(); ++i) out.push_back(text(sequences[i]));
    return out;
  }
};

}  // namespace retort
