#pragma once

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "retort/core/clock.hpp"

/// Progress of a long loop: one line redrawn in place on a terminal, a plain line now and then elsewhere.
namespace retort {

/// How a `Progress` shows itself.
struct ProgressOptions {
  std::string label = {};       ///< what is being done; begins every line
  std::string unit = "steps";   ///< what is counted
  std::int64_t total = 0;       ///< how many there are; 0: unknown, then without bar and remaining time
  std::int64_t start = 0;       ///< how many were done before (a resumed run); the rate does not count them
  double redraw_seconds = 0.1;  ///< on a terminal: least time between two redraws
  double line_seconds = 10;     ///< elsewhere: a line after so much time ...
  double line_fraction = 0.1;   ///< ... or after so much of the total, but not within one second of the last
  int bar_width = 24;           ///< characters of the bar
  std::optional<bool> is_terminal = {};  ///< ask the system if not given
};

/// "7s", "3m 05s", "2h 03m".
[[nodiscard]] inline std::string format_duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::clamp(seconds, 0.0, 1e12) + 0.5);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m {:02}s", s / 60, s % 60);
  return fmt::format("{}h {:02}m", s / 3600, s / 60 % 60);
}

/// Counts, and shows label, count, rate, remaining time and a note on `out`.
///
///   Progress progress({.label = "student", .total = 600});
///   for (...) progress.advance(1, fmt::format("loss {:.3f}", loss));
class Progress {
 public:
  using Clock = std::function<double()>;  ///< seconds from any origin

  explicit Progress(ProgressOptions options, std::FILE* out = stderr, Clock clock = steady_seconds)
      : options_(std::move(options)), out_(out), clock_(std::move(clock)), done_(options_.start) {
    terminal_ = options_.is_terminal.value_or(::isatty(::fileno(out_)) == 1);
    began_ = shown_at_ = clock_();
    shown_ = done_;
    if (terminal_) show(began_);
  }

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Calls `finish`.
  ~Progress() { finish(); }

  /// `count` more are done; `note` (a loss, say) stands at the end of the line.
  void advance(std::int64_t count = 1, std::string_view note = {}) {
    done_ += count;
    if (!note.empty()) note_ = note;
    if (const double now = clock_(); is_due(now)) show(now);
  }

  /// Shows the last state, unless it is shown already, and ends the line. A later call does nothing.
  void finish() {
    if (std::exchange(finished_, true)) return;
    if (terminal_ || shown_ != done_) show(clock_());
    if (terminal_) {
      std::fputc('\n', out_);
      std::fflush(out_);
    }
  }

  /// Writes `text` and a line end without spoiling the bar.
  void print(std::string_view text) {
    if (terminal_) std::fputs("\r\x1b[K", out_);
    fmt::print(out_, "{}\n", text);
    if (terminal_ && !finished_) show(clock_());
    std::fflush(out_);
  }

  [[nodiscard]] std::int64_t done() const { return done_; }

  /// Per second, since the start of this object; 0 before there is anything to divide.
  [[nodiscard]] double rate(double now) const {
    return now > began_ ? static_cast<double>(done_ - options_.start) / (now - began_) : 0;
  }

  /// The line as shown at time `now`, without its end.
  [[nodiscard]] std::string line(double now) const {
    const double per_second = rate(now);
    std::string text = options_.label.empty() ? "" : options_.label + "  ";
    if (options_.total > 0) {
      const double part =
          std::clamp(static_cast<double>(done_) / static_cast<double>(options_.total), 0.0, 1.0);
      if (terminal_) text += fmt::format("{} ", bar(part));
      text += fmt::format("{:3.0f} %  {}/{} {}", 100 * part, done_, options_.total, options_.unit);
    } else {
      text += fmt::format("{} {}", done_, options_.unit);
    }
    if (per_second > 0) text += fmt::format("  {}/s", format_rate(per_second));
    if (options_.total > 0 && done_ >= options_.total)
      text += fmt::format("  took {}", format_duration(now - began_));
    else if (options_.total > 0 && per_second > 0)
      text +=
          fmt::format("  {} left", format_duration(static_cast<double>(options_.total - done_) / per_second));
    if (!note_.empty()) text += fmt::format("  {}", note_);
    return text;
  }

 private:
  [[nodiscard]] bool is_due(double now) const {
    const double waited = now - shown_at_;
    const bool complete = options_.total > 0 && done_ >= options_.total && shown_ != done_;
    if (terminal_) return complete || waited >= options_.redraw_seconds;
    const double moved = static_cast<double>(done_ - shown_);
    const bool far =
        options_.total > 0 && moved >= options_.line_fraction * static_cast<double>(options_.total);
    return complete || waited >= options_.line_seconds || (far && waited >= 1);
  }

  void show(double now) {
    if (terminal_)  // [?7l: a line longer than the terminal is cut, not wrapped
      fmt::print(out_, "\r\x1b[?7l{}\x1b[K\x1b[?7h", line(now));
    else
      fmt::print(out_, "{}\n", line(now));
    std::fflush(out_);
    shown_at_ = now;
    shown_ = done_;
  }

  [[nodiscard]] std::string bar(double part) const {
    const int full = static_cast<int>(part * options_.bar_width + 1e-9);
    return fmt::format("[{}{}]", std::string(static_cast<std::size_t>(full), '='),
                       std::string(static_cast<std::size_t>(options_.bar_width - full), ' '));
  }

  static std::string format_rate(double rate) {
    return rate < 10    ? fmt::format("{:.2f}", rate)
           : rate < 100 ? fmt::format("{:.1f}", rate)
                        : fmt::format("{:.0f}", rate);
  }

  ProgressOptions options_;
  std::FILE* out_;
  Clock clock_;
  std::int64_t done_ = 0;
  std::string note_;
  bool terminal_ = false;
  bool finished_ = false;
  double began_ = 0;
  double shown_at_ = 0;
  std::int64_t shown_ = 0;
};

}  // namespace retort
