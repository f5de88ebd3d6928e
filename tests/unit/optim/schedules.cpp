#include "retort/optim/schedules.hpp"

#include <cmath>
#include <string>

#include "catch.hpp"

using namespace retort;

TEST_CASE("the warm-up rises in equal parts to 1, for every schedule") {
  for (const char* name : {"constant", "linear", "cosine", "inverse_sqrt"}) {
    INFO(name);
    const AnySchedule schedule = parse_schedule(name, 4);
    CHECK(schedule_factor(schedule, 0, 10) == 0.25);
    CHECK(schedule_factor(schedule, 1, 10) == 0.5);
    CHECK(schedule_factor(schedule, 3, 10) == 1);
    CHECK(schedule_factor(schedule, 4, 10) == 1);
    CHECK(schedule_factor(parse_schedule(name), 0, 10) == 1);
  }
}

TEST_CASE("constant stays 1") {
  CHECK(ConstantRate{}.factor(0, 10) == 1);
  CHECK(ConstantRate{.warm_up = 2}.factor(1'000'000, 10) == 1);
}

TEST_CASE("linear falls in equal parts to its floor at the total, and stays there") {
  const LinearDecay s{.warm_up = 2};
  CHECK(s.factor(2, 10) == 1);
  CHECK(s.factor(3, 10) == Approx(7.0 / 8));
  CHECK(s.factor(6, 10) == Approx(0.5));
  CHECK(s.factor(9, 10) == Approx(1.0 / 8));
  CHECK(s.factor(10, 10) == 0);
  CHECK(s.factor(11, 10) == 0);
  CHECK(LinearDecay{.floor = 0.2}.factor(5, 10) == Approx(0.6));
  CHECK(LinearDecay{.floor = 0.2}.factor(99, 10) == Approx(0.2));
}

TEST_CASE("cosine falls along half a wave to its floor at the total, and stays there") {
  const CosineDecay s{.warm_up = 2};
  CHECK(s.factor(2, 10) == 1);
  CHECK(s.factor(4, 10) == Approx(0.5 * (1 + std::sqrt(0.5))));
  CHECK(s.factor(6, 10) == Approx(0.5));
  CHECK(s.factor(8, 10) == Approx(0.5 * (1 - std::sqrt(0.5))));
  CHECK(s.factor(10, 10) == Approx(0).margin(1e-15));
  CHECK(s.factor(50, 10) == Approx(0).margin(1e-15));
  CHECK(CosineDecay{.floor = 0.1}.factor(10, 10) == Approx(0.1));
}

TEST_CASE("inverse square root is sqrt(warm_up / step) after the warm-up") {
  const InverseSquareRoot s{.warm_up = 100};
  CHECK(s.factor(99, 100000) == 1);
  CHECK(s.factor(400, 100000) == Approx(0.5));
  CHECK(s.factor(10000, 100000) == Approx(0.1));
  CHECK(s.factor(100001, 100000) == s.factor(100000, 100000));
  CHECK(InverseSquareRoot{}.factor(3, 10) == Approx(0.5));  // 1 / sqrt(1 + step)
  CHECK(InverseSquareRoot{.timescale = 30}.factor(90, 100) == Approx(0.5));
}

TEST_CASE("a run that ends in or with the warm-up has no decay") {
  for (const char* name : {"constant", "linear", "cosine", "inverse_sqrt"}) {
    INFO(name);
    const AnySchedule schedule = parse_schedule(name, 10);
    CHECK(schedule_factor(schedule, 4, 5) == 0.5);
    CHECK(schedule_factor(schedule, 9, 10) == 1);
    CHECK(schedule_factor(schedule, 10, 10) == 1);
    CHECK(schedule_factor(schedule, 0, 0) == 0.1);
  }
}

TEST_CASE("factors never leave [0, 1] and never rise after the warm-up") {
  for (const char* name : {"constant", "linear", "cosine", "inverse_sqrt"})
    for (const Index warm_up : {0, 1, 7, 30}) {
      const AnySchedule schedule = parse_schedule(name, warm_up);
      double before = 1;
      for (Index step = 0; step < 40; ++step) {
        const double f = schedule_factor(schedule, step, 25);
        CHECK((f >= 0 && f <= 1));
        if (step >= warm_up) CHECK(f <= before);
        if (step >= warm_up) before = f;
      }
    }
}

TEST_CASE("an unknown schedule is refused with the list of names") {
  const auto message = [](const char* name, Index warm_up) -> std::string {
    try {
      (void)parse_schedule(name, warm_up);
    } catch (const ValueError& error) {
      return error.what();
    }
    return "no error";
  };
  CHECK(message("cosin", 0) ==
        "[schedule] 'cosin' is unknown, expected one of constant, linear, cosine, inverse_sqrt");
  CHECK(message("linear", -1) == "[linear] warm_up must not be negative; given linear(warm_up -1, floor 0)");
}

TEST_CASE("a schedule prints itself") {
  CHECK(summary(CosineDecay{.warm_up = 10, .floor = 0.1}) == "cosine(warm_up 10, floor 0.1)");
  CHECK(summary(parse_schedule("inverse_sqrt", 5)) == "inverse_sqrt(warm_up 5, timescale 0)");
  STATIC_REQUIRE(Schedule<LinearDecay>);
  STATIC_REQUIRE_FALSE(Schedule<double>);
}
