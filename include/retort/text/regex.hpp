#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "retort/core/error.hpp"
#include "retort/text/utf8.hpp"

#if PCRE2_MAJOR < 10 || (PCRE2_MAJOR == 10 && PCRE2_MINOR < 40)
#error "retort/text needs PCRE2 10.40 or newer: older ones have no \p{White_Space}"
#endif

namespace retort {

/// The pattern rewritten for PCRE2 with the meaning it has in Oniguruma, the library of the Hugging Face
/// tokenizers. `\s`, `\w` and `\d` become the Unicode properties that Oniguruma gives them (PCRE2's own
/// differ in U+180E, in marks and in connectors), scripts are the Script property. What the two read
/// differently and is not translated throws ValueError that shows it.
[[nodiscard]] std::string pcre2_pattern(std::string_view oniguruma);

/// A regular expression over UTF-8, with Unicode's character classes, compiled to machine code where PCRE2
/// can. Copies share the compiled code, which any number of threads may use.
class Regex {
 public:
  /// Whose meaning a pattern has.
  enum class Syntax { oniguruma, pcre2 };

  /// Throws ValueError, with PCRE2's reason, for a pattern that is wrong or not translated.
  explicit Regex(std::string pattern, Syntax syntax = Syntax::oniguruma) : pattern_(std::move(pattern)) {
    const std::string translated = syntax == Syntax::pcre2 ? pattern_ : pcre2_pattern(pattern_);
    const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
        pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
    if (context) pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int reason = 0;
    std::size_t place = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &reason,
                              &place, context.get()),
                pcre2_code_free);
    if (!code_)
      fail<ValueError>("regex", "'{}' is no pattern: {} (at byte {} of '{}')", pattern_, explain(reason),
                       place, translated);
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is slower and the same
  }

  /// The text that matches literally.
  [[nodiscard]] static Regex literal(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x80 &&
          std::string_view("\\^$.|?*+()[]{}-&~#").find(c) != text.npos)
        pattern += '\\';
      pattern += c;
    }
    return Regex(std::move(pattern));
  }

  /// The pattern as it was given.
  [[nodiscard]] const std::string& pattern() const { return pattern_; }
  bool operator==(const Regex& other) const { return pattern_ == other.pattern_; }

  /// Calls `f(begin, end)`, in bytes, for every match in `text`, which must be valid UTF-8, from left to
  /// right. An empty match right behind another match is none. Throws ValueError where PCRE2 gives up.
  template <class F>
  void for_each(std::string_view text, F&& f) const {
    const Match match(code_.get());
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    std::size_t from = 0, last = text.npos;
    while (from <= text.size()) {
      const int found = match.find(code_.get(), subject, text.size(), from);
      if (found == PCRE2_ERROR_NOMATCH) return;
      if (found < 0) fail<ValueError>("regex", "'{}' fails on a text: {}", pattern_, explain(found));
      const auto* place = pcre2_get_ovector_pointer(match.data.get());
      const std::size_t begin = place[0], end = place[1];
      if (begin != end || begin != last) f(begin, end);
      last = end;
      from = end;
      if (begin == end) {
        if (end == text.size()) return;
        from += utf8::first(text.substr(end)).size;
      }
    }
  }

 private:
  struct Match {
    std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data;
    explicit Match(const pcre2_code* code)
        : data(pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free) {
      if (!data) throw std::bad_alloc();
    }
    int find(const pcre2_code* code, PCRE2_SPTR text, std::size_t size, std::size_t from) const {
      int found = pcre2_match(code, text, size, from, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT)  // machine code has a small stack, the interpreter the heap
        found = pcre2_match(code, text, size, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), nullptr);
      return found;
    }
  };

  static std::string explain(int reason) {
    std::array<unsigned char, 200> text{};
    pcre2_get_error_message(reason, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
  }

  std::string pattern_;
  std::shared_ptr<pcre2_code> code_;
};

namespace detail {

/// One walk over an Oniguruma pattern.
class RegexTranslation {
 public:
  explicit RegexTranslation(std::string_view from) : from_(from) {}

  std::string run() {
    while (at_ < from_.size()) {
      const char c = from_[at_];
      if (c == '\\')
        escape();
      else if (in_class_)
        class_member(c);
      else
        outside(c);
    }
    return std::move(to_);
  }

 private:
  std::string_view from_;
  std::string to_;
  std::size_t at_ = 0;
  bool in_class_ = false;

  [[noreturn]] void unsupported(std::string_view what) const {
    fail<ValueError>("regex", "'{}' has '{}' at byte {}, which is not supported", from_, what, at_);
  }
  [[nodiscard]] bool next_is(std::string_view text) const { return from_.substr(at_).starts_with(text); }
  void copy(std::size_t size) {
    to_ += from_.substr(at_, size);
    at_ += size;
  }
  void replace(std::size_t size, std::string_view by) {
    to_ += by;
    at_ += size;
  }

  void escape() {
    constexpr std::string_view word = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
    if (at_ + 1 >= from_.size()) unsupported("\\");
    const char c = from_[at_ + 1];
    const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alphanumeric) return copy(2);
    switch (c) {
      case 's':
        return replace(2, "\\p{White_Space}");
      case 'S':
        return replace(2, "\\P{White_Space}");
      case 'd':
        return replace(2, "\\p{Nd}");
      case 'D':
        return replace(2, "\\P{Nd}");
      case 'w':
        return replace(2, in_class_ ? std::string(word) : fmt::format("[{}]", word));
      case 'W':
        if (in_class_) unsupported("\\W in a class");
        return replace(2, fmt::format("[^{}]", word));
      case 'v':
        return replace(2, "\\x{0B}");
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
      case 'x':
        return copy(2);
      case 'A':
      case 'z':
        if (!in_class_) return copy(2);
        break;
      case 'p':
      case 'P':
        return property(c);
      default:
        break;
    }
    unsupported(from_.substr(at_, 2));
  }

  void property(char p) {
    const auto end = from_.find('}', at_);
    if (end == from_.npos || from_.substr(at_ + 2, 1) != "{") unsupported(from_.substr(at_, 2));
    std::string_view name = from_.substr(at_ + 3, end - at_ - 3);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    // General categories have one or two letters. PCRE2 takes another name for the extensions of a script.
    const bool category = name.size() <= 2 || name == "Any" || name == "Alphabetic" || name == "White_Space";
    to_ += fmt::format("\\{}{{{}{}{}}}", p, negated ? "^" : "", category ? "" : "sc:", name);
    at_ = end + 1;
  }

  void class_member(char c) {
    if (c == '[') unsupported("[ in a class");
    if (next_is("&&")) unsupported("&& in a class");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void outside(char c) {
    if (c == '[') {
      in_class_ = true;
      copy(1);
      if (next_is("^")) copy(1);
      if (next_is("]")) replace(1, "\\]");
    } else if (next_is("}+")) {
      unsupported("}+");  // possessive for PCRE2, repeated for Oniguruma
    } else if (next_is("{,")) {
      unsupported("{,");
    } else if (next_is("(?")) {
      for (const std::string_view group :
           {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:"})
        if (next_is(group)) return copy(group.size());
      unsupported(from_.substr(at_, 3));
    } else if (next_is("(*")) {
      unsupported("(*");
    } else {
      copy(1);
    }
  }
};

}  // namespace detail

inline std::string pcre2_pattern(std::string_view oniguruma) {
  if (utf8::valid_prefix(oniguruma) != oniguruma.size())
    fail<ValueError>("regex", "the pattern is not UTF-8");
  return detail::RegexTranslation(oniguruma).run();
}

}  // namespace retort
