#include "retort/io/policy_json.hpp"

#include <limits>
#include <string>
#include <variant>

#include "catch.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/schedules.hpp"

using namespace retort;
using nlohmann::json;

namespace {

struct Sizes {
  Index width = 48;
  float dropout = 0.1f;
  template <class F>
  void each_field(F&& f) const {
    f("width", width);
    f("dropout", dropout);
  }
};

struct AnyRate : std::variant<ConstantRate, CosineDecay> {
  using variant::variant;
};

struct Recipe {
  static constexpr const char* name = "recipe";
  AnySchedule schedule = LinearDecay{.warm_up = 5};
  AnyRate rate = CosineDecay{};
  Sizes sizes;
  double limit = std::numeric_limits<double>::infinity();
  bool tied = true;
  std::string data = "train";
  template <class F>
  void each_field(F&& f) const {
    f("schedule", schedule);
    f("rate", rate);
    f("sizes", sizes);
    f("limit", limit);
    f("tied", tied);
    f("data", data);
    f("reduction", tied ? "per_token" : "per_sequence");
  }
};

}  // namespace

TEST_CASE("a policy becomes an object with its name and values") {
  CHECK(to_json(CosineDecay{.warm_up = 10, .floor = 0.1}) ==
        json::parse(R"({"name":"cosine","warm_up":10,"floor":0.1})"));
  CHECK(to_json(AnySchedule(ConstantRate{})) == json::parse(R"({"name":"constant","warm_up":0})"));
  CHECK(to_json(Adafactor{})["relative_step"] == false);
}

TEST_CASE("policies in policies and choices are nested, and floats have their own digits") {
  CHECK(to_json(Recipe{}) ==
        json::parse(R"({"name":"recipe","schedule":{"name":"linear","warm_up":5,"floor":0.0},
    "rate":{"name":"cosine","warm_up":0,"floor":0.0},"sizes":{"width":48,"dropout":0.1},"limit":"inf","tied":true,
    "data":"train","reduction":"per_token"})"));
  CHECK(to_json(Sizes{})["dropout"].dump() == "0.1");
}

TEST_CASE("the first difference of two configurations is named with its path and both values") {
  const json there = json::parse(R"({"b":{"x":1,"y":[1,2]},"c":"text"})");
  const auto difference = [&](const char* here) {
    return first_difference(there, json::parse(here)).value_or("none");
  };
  CHECK(difference(R"({"c":"text","b":{"y":[1,2],"x":1.0}})") == "none");
  CHECK(difference(R"({"b":{"x":2,"y":[1]},"c":"text"})") == "b.x is 1 there and 2 here");
  CHECK(difference(R"({"b":{"x":1,"y":[1,3]},"c":"text"})") == "b.y is [1,2] there and [1,3] here");
  CHECK(difference(R"({"b":{"x":1,"y":[1,2]}})") == "c is \"text\" there and not set here");
  CHECK(difference(R"({"a":0,"b":{"x":1,"y":[1,2]},"c":"text"})") == "a is not set there and 0 here");
  CHECK(difference(R"({"b":7,"c":"text"})") == "b is {\"x\":1,\"y\":[1,2]} there and 7 here");
  CHECK(first_difference(json(1), json(2)) == "it is 1 there and 2 here");
}
