#pragma once

#include <csignal>

/// A clean stop on Ctrl-C or SIGTERM: the loop finishes its step, writes a checkpoint and returns.
namespace retort {

/// While it lives, SIGINT and SIGTERM set a flag instead of ending the process; a second one ends it at once.
/// The old handlers come back afterwards. One at a time.
class InterruptGuard {
 public:
  InterruptGuard() {
    requested() = 0;
    previous_int_ = std::signal(SIGINT, &InterruptGuard::on_signal);
    previous_term_ = std::signal(SIGTERM, &InterruptGuard::on_signal);
  }
  ~InterruptGuard() {
    std::signal(SIGINT, previous_int_);
    std::signal(SIGTERM, previous_term_);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether a stop was asked for.
  [[nodiscard]] static bool stop_requested() { return requested() != 0; }

 private:
  using Handler = void (*)(int);
  Handler previous_int_, previous_term_;

  // Signal handlers can reach nothing but static storage.
  static volatile std::sig_atomic_t& requested() {
    static volatile std::sig_atomic_t flag = 0;
    return flag;
  }
  static void on_signal(int signal) {
    if (requested() != 0) {
      std::signal(signal, SIG_DFL);
      std::raise(signal);
    }
    requested() = 1;
  }
};

}  // namespace retort
