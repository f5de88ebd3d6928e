#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "retort/text/utf8.hpp"

namespace retort::detail {

/// Follows a text of JSON and counts its open brackets.
class DepthCheck : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit DepthCheck(int most) : most_(most) {}
  [[nodiscard]] bool exceeded() const { return depth_ > most_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= most_; }
  bool start_array(std::size_t) override { return ++depth_ <= most_; }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  int most_, depth_ = 0;
};

/// Whether brackets are nested more than `most` deep, up to where the text stops being JSON. A check by
/// itself: with a callback nlohmann's parser takes minutes for a megabyte of empty objects.
[[nodiscard]] inline bool nested_too_deeply(std::string_view text, int most = 64) {
  DepthCheck check(most);
  nlohmann::json::sax_parse(text, &check);
  return check.exceeded();
}

/// A value as messages show it: JSON in one line, of a long one the beginning. It must not be nested deeply.
[[nodiscard]] inline std::string shown(const nlohmann::json& value) {
  constexpr std::size_t most = 60;
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() <= most) return text;
  text.resize(most - 3);
  text.resize(utf8::valid_prefix(text));  // no half character
  return text + "...";
}

}  // namespace retort::detail
