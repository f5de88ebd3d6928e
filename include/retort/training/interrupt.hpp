#pragma once

#include <csignal>

/// A clean stop on Ctrl-C or SIGTERM: the loop finishes its step, writes a checkpoint and returns.
namespace retort {

/// While it lives, SIGINT and SIGTERM set a flag instead of ending the process; a second one ends it at once.
/// The old handlers come back afterwards. Guards nest on one thread: within one that a program holds over
/// several runs, the guards of the runs share its flag, so that no request is lost between them.
class InterruptGuard {
 public:
  InterruptGuard() {
    if (guards()++ > 0) return;
    requested() = 0;
    previous_int_ = std::signal(SIGINT, &InterruptGuard::on_signal);
    previous_term_ = std::signal(SIGTERM, &InterruptGuard::on_signal);
  }
  ~InterruptGuard() {
    if (--guards() > 0) return;
    std::signal(SIGINT, previous_int_);
    std::signal(SIGTERM, previous_term_);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether a stop was asked for.
  [[nodiscard]] static bool stop_requested() { return requested() != 0; }

 private:
  using Handler = void (*)(int);
  Handler previous_int_ = nullptr, previous_term_ = nullptr;  // of the outermost guard

  // Signal handlers can reach nothing but static storage.
  static volatile std::sig_atomic_t& requested() {
    static volatile std::sig_atomic_t flag = 0;
    return flag;
  }
  static int& guards() {
    static int count = 0;
    return count;
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
