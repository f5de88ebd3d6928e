// Names, parameters and ranges of the policies of distillation.
#include "catch.hpp"
#include "numbers.hpp"
#include "retort/distill/gkd.hpp"

using namespace retort;
using retort::test::message_of;

namespace {

std::string refusal(const std::string& text) {
  return message_of<ValueError>([&] { (void)parse_divergence(text); });
}

struct Bare {
  static constexpr const char* name = "bare";
  [[nodiscard]] const char* problem() const { return "it is bare"; }
};

struct Around {
  static constexpr const char* name = "around";
  Bare bare{};
  [[nodiscard]] const char* problem() const { return bare.problem(); }
  template <class F>
  void each_field(F&& f) const {
    f("bare", bare);
  }
};

}  // namespace

TEST_CASE("a divergence is read from its name, with or without its parameter, and described alike") {
  CHECK(std::holds_alternative<ForwardKl>(parse_divergence("forward_kl")));
  CHECK(std::holds_alternative<SymmetricKl>(parse_divergence("symmetric_kl")));
  CHECK(std::get<Jsd>(parse_divergence("jsd")).beta == 0.5);
  CHECK(std::get<Jsd>(parse_divergence("jsd(0.1)")).beta == 0.1);
  CHECK(std::get<SkewReverseKl>(parse_divergence("skew_reverse_kl(0.25)")).alpha == 0.25);
  for (const std::string text :
       {"forward_kl", "reverse_kl", "jsd(beta 0.1)", "normalised_jsd(beta 0.9)", "total_variation",
        "skew_forward_kl(alpha 0.1)", "skew_reverse_kl(alpha 0)", "symmetric_kl"})
    CHECK(summary(parse_divergence(text)) == text);
}

TEST_CASE("an unknown divergence is refused with the list of names") {
  const std::string names =
      "expected one of forward_kl, reverse_kl, jsd, normalised_jsd, total_variation, skew_forward_kl, "
      "skew_reverse_kl, symmetric_kl";
  for (const std::string text : {"kl", "", "JSD", "jsd0.5", " jsd", "cross_entropy", "(0.5)"})
    CHECK(refusal(text) == "[divergence] '" + text + "' is unknown, " + names);
}

TEST_CASE("a parameter that is no number, or that a divergence does not have, is refused") {
  for (const std::string text : {"jsd(", "jsd()", "jsd(0.5", "jsd(x)", "jsd(0.5))", "jsd(0.5) ", "jsd(0.5,1)",
                                 "jsd(1e999)", "jsd(alpha 0.5)", "jsd(beta)"})
    CHECK(refusal(text) == "[divergence] '" + text + "' is not of the form jsd(NUMBER)");
  CHECK(refusal("forward_kl(0.5)") ==
        "[divergence] forward_kl takes no parameter, 'forward_kl(0.5)' was given");
}

TEST_CASE(
    "parameters outside their range are refused; the ends of JSD name the KL divergences they tend to") {
  CHECK(refusal("jsd(0)") ==
        "[jsd] beta = 0 is not a Jensen-Shannon divergence: use ForwardKl (forward_kl); given jsd(beta 0)");
  CHECK(refusal("jsd(1)") ==
        "[jsd] beta = 1 is not a Jensen-Shannon divergence: use ReverseKl (reverse_kl); given jsd(beta 1)");
  CHECK(refusal("normalised_jsd(1)").find("ReverseKl") != std::string::npos);
  for (const std::string name : {"jsd", "normalised_jsd"})
    for (const std::string value : {"-0.1", "1.5", "nan"})
      CHECK(refusal(name + "(" + value + ")") ==
            "[" + name + "] beta must lie between 0 and 1; given " + name + "(beta " + value + ")");
  for (const std::string name : {"skew_forward_kl", "skew_reverse_kl"})
    for (const std::string value : {"-0.1", "1", "nan"})
      CHECK(refusal(name + "(" + value + ")")
                .ends_with("alpha must lie in [0, 1); given " + name + "(alpha " + value + ")"));
  CHECK_NOTHROW(check_policy(SkewForwardKl{.alpha = 0}));
}

TEST_CASE("Mixed picks the student's outputs with probability lambda; 0 and 1 are never and always") {
  for (const double lambda : {0.0, 0.25, 0.5, 1.0}) {
    int student = 0;
    const RandomKey key{1, 2};
    for (std::uint64_t i = 0; i < 40'000; ++i) {
      const Source s = Mixed{lambda}.choose(key.uniform(i));
      REQUIRE(s != Source::teacher);
      student += s == Source::student;
    }
    CHECK(std::abs(student / 40'000.0 - lambda) <= 4 * std::sqrt(lambda * (1 - lambda) / 40'000));
  }
  CHECK(Mixed{0}.choose(1e-300) == Source::data);
  CHECK(Mixed{1}.choose(1 - 1e-16) == Source::student);
  CHECK(Mixed{0.5}.choose(0.5) == Source::student);  // u <= lambda
}

TEST_CASE("f-distill's outputs are the student's and the teacher's, the others' always one model's") {
  CHECK(StudentOrTeacher{0.3}.choose(0.2) == Source::student);
  CHECK(StudentOrTeacher{0.3}.choose(0.4) == Source::teacher);
  CHECK(StudentOrTeacher{0}.choose(1e-300) == Source::teacher);
  for (const double u : {1e-9, 0.5, 1 - 1e-9}) {
    CHECK(FromData{}.choose(u) == Source::data);
    CHECK(FromStudent{}.choose(u) == Source::student);
    CHECK(FromTeacher{}.choose(u) == Source::teacher);
    CHECK(AnyOutputs{Mixed{0.6}}.choose(u) == Mixed{0.6}.choose(u));
  }
}

TEST_CASE("shares outside [0, 1] are refused, also where the policy is chosen at run time") {
  for (const double bad : {-0.1, 1.1, std::nan("")}) {
    const std::string given = fmt::format("lambda must lie in [0, 1]; given mixed(lambda {})", bad);
    CHECK(message_of<ValueError>([&] { check_policy(Mixed{bad}); }) == "[mixed] " + given);
    CHECK_THROWS_AS(check_policy(StudentOrTeacher{bad}), ValueError);
    CHECK(message_of<ValueError>([&] { check_policy(AnyOutputs{Mixed{bad}}); }) == "[outputs] " + given);
  }
  CHECK_NOTHROW(check_policy(AnyOutputs{FromData{}}));
}

TEST_CASE("a policy without values to show, or with one of a type that has none, is refused all the same") {
  CHECK(message_of<ValueError>([] { check_policy(Bare{}); }) == "[bare] it is bare");
  CHECK(message_of<ValueError>([] { check_policy(Around{}); }) ==
        "[around] it is bare; given around(bare custom)");
}

TEST_CASE("a recipe prints itself with every value that decides its course") {
  CHECK(summary(recipes::imit_kd()) ==
        "gkd(objective forward_kl, outputs mixed(lambda 0.5), sampler temperature(temperature 1), max_tokens "
        "128, "
        "end_token 1, options loss(reduction per_sequence, temperature 1, times_temperature_squared false))");
  const Gkd<AnyObjective, AnyOutputs, Filters<TopK, TopP>> chosen{
      .divergence = Jsd{0.1}, .outputs = StudentOrTeacher{0.25}, .sampler = Filters{TopK{40}, TopP{0.9}}};
  CHECK(summary(chosen).find("objective jsd(beta 0.1), outputs student_or_teacher(student 0.25), sampler "
                             "filters(top_k 40, top_p 0.9)") != std::string::npos);
}

TEST_CASE("the named recipes are the table of the GKD paper") {
  const auto is = [](const auto& recipe, auto objective, auto outputs) {
    return std::same_as<std::remove_const_t<decltype(recipe.divergence)>, decltype(objective)> &&
           std::same_as<std::remove_const_t<decltype(recipe.outputs)>, decltype(outputs)> &&
           recipe.sampler.value == 1;
  };
  CHECK(is(recipes::sft(), CrossEntropy{}, FromData{}));
  CHECK(is(recipes::seq_kd(), CrossEntropy{}, FromTeacher{}));
  CHECK(is(recipes::supervised_kd(), ForwardKl{}, FromData{}));
  CHECK(is(recipes::imit_kd(), ForwardKl{}, Mixed{}));
  CHECK(recipes::imit_kd().outputs.lambda == 0.5);
  CHECK(is(recipes::f_distill(), TotalVariation{}, StudentOrTeacher{}));
  CHECK(recipes::f_distill().outputs.student == 0.5);
  CHECK(is(recipes::on_policy_kd(), ForwardKl{}, FromStudent{}));
  CHECK(is(recipes::gkd(Jsd{.beta = 0.1}, 0.7), Jsd{}, Mixed{}));
  CHECK(recipes::gkd(Jsd{.beta = 0.1}, 0.7).divergence.beta == 0.1);
  CHECK(recipes::gkd(Jsd{.beta = 0.1}, 0.7).outputs.lambda == 0.7);
  CHECK(recipes::sft().options.reduction == Reduction::per_sequence);
  CHECK(recipes::sft().options.temperature == 1);
  CHECK_FALSE(recipes::sft().options.times_temperature_squared);
}

TEST_CASE("a recipe refuses a value of any of its parts, chosen as a type or at run time") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto problem = [](const auto& recipe) {
    return message_of<ValueError>([&] { check_policy(recipe); });
  };
  const auto refused = [&](const auto& recipe, const char* part) {
    return problem(recipe).find(part) != std::string::npos;
  };
  CHECK(problem(recipes::sft()) == "no error");
  CHECK(problem(recipes::gkd(Jsd{0.1}, 1)) == "no error");
  CHECK(refused(recipes::gkd(Jsd{2}, 1), "beta must lie"));
  CHECK(refused(recipes::gkd(ReverseKl{}, nan), "lambda must lie"));
  CHECK(refused(Gkd<ReverseKl>{.sampler = {.value = nan}}, "above 0"));
  CHECK(refused(Gkd<ReverseKl>{.max_tokens = -1}, "max_tokens"));
  for (const double wrong : {nan, 0.0, -1.0, std::numeric_limits<double>::infinity()})
    CHECK(refused(Gkd<ReverseKl>{.options = {.temperature = wrong}}, "the loss's temperature"));

  Gkd<AnyObjective, AnyOutputs> any;
  CHECK(problem(any) == "no error");
  any.divergence = Jsd{2};
  CHECK(refused(any, "beta must lie"));
  any.divergence = ForwardKl{};
  any.outputs = Mixed{1.5};
  CHECK(refused(any, "lambda must lie"));
}
