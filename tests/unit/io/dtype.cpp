// Rounding to the 16-bit formats, over all of their values and the places between them.
#include "retort/io/dtype.hpp"

#include <vector>

#include "catch.hpp"

using namespace retort;

namespace {

template <class Narrow>
Narrow nearest(float x) {
  if constexpr (std::same_as<Narrow, Half>)
    return Half::nearest(x);
  else
    return Narrow(x);
}
template <class Narrow>
std::uint16_t rounded(double x) {
  return nearest<Narrow>(odd_float(x)).bits;
}
template <class Narrow>
double value_of(int bits) {
  return static_cast<double>(static_cast<float>(std::bit_cast<Narrow>(static_cast<std::uint16_t>(bits))));
}

/// Every value, every midpoint between neighbours and both sides of it, positive and negative.
template <class Narrow>
void check_rounding(std::uint16_t infinity) {
  int wrong = 0;
  for (std::uint16_t bits = 0; bits < infinity; ++bits) {
    const double here = value_of<Narrow>(bits);
    const auto after = static_cast<std::uint16_t>(bits + 1);
    // Infinity stands where the next number would be.
    const double step = bits == 0 ? value_of<Narrow>(1) : here - value_of<Narrow>(bits - 1);
    const double next = after == infinity ? here + step : value_of<Narrow>(after);
    const double middle = (here + next) / 2, nearer = std::nextafter(middle, 0.0),
                 farther = std::nextafter(middle, next);
    for (const double sign : {1.0, -1.0}) {
      const auto with_sign = [sign](std::uint16_t b) {
        return static_cast<std::uint16_t>(b | (sign < 0 ? 0x8000 : 0));
      };
      wrong += rounded<Narrow>(sign * here) != with_sign(bits);
      wrong += rounded<Narrow>(sign * nearer) != with_sign(bits);
      wrong += rounded<Narrow>(sign * middle) != with_sign(bits % 2 == 0 ? bits : after);
      wrong += rounded<Narrow>(sign * farther) != with_sign(after);
      const auto single = static_cast<float>(middle);
      if (static_cast<double>(single) == middle)
        wrong += nearest<Narrow>(static_cast<float>(sign) * single).bits !=
                 with_sign(bits % 2 == 0 ? bits : after);
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("numbers are written as the nearest half, of two equally near the even one") {
  check_rounding<Half>(0x7c00);
  CHECK(rounded<Half>(65519.99) == 0x7bff);
  CHECK(rounded<Half>(65520) == 0x7c00);
  CHECK(rounded<Half>(1e300) == 0x7c00);
  CHECK(rounded<Half>(-HUGE_VAL) == 0xfc00);
  CHECK(rounded<Half>(1e-300) == 0);
  CHECK(rounded<Half>(-1e-300) == 0x8000);
  CHECK(std::isnan(static_cast<float>(Half::nearest(std::nanf("")))));
}

TEST_CASE("numbers are written as the nearest bfloat16, of two equally near the even one") {
  check_rounding<bf16>(0x7f80);
  CHECK(rounded<bf16>(3.4e38) == 0x7f80);
  CHECK(rounded<bf16>(1e300) == 0x7f80);
  CHECK(rounded<bf16>(-1e-300) == 0x8000);
  CHECK(std::isnan(static_cast<float>(bf16(std::nanf("")))));
  // A NaN whose payload stands in the bits that are cut off.
  CHECK(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST_CASE("numbers of every format are read as the nearest bf16, rounded once") {
  const double between = 1 + 0x1p-8,
               above = between + 0x1p-40;  // halfway from 1 to the next bf16, and above it
  std::vector<bf16> read(2);
  for (const auto& [dtype, second] :
       {std::pair{"F64", 1 + 0x1p-7}, {"F32", 1.0}}) {  // a float is not above it
    const std::vector<double> values{between, above};
    std::vector<std::byte> bytes(2 * dtype_bytes(dtype));
    convert_to<double>(dtype, values, bytes.data());
    REQUIRE(convert<bf16>(dtype, bytes.data(), std::span(read)) == -1);
    CHECK(static_cast<float>(read[0]) == 1);
    CHECK(static_cast<double>(static_cast<float>(read[1])) == second);
  }
  // There and back through every format that holds them.
  const std::vector<bf16> some{bf16(0.1f), bf16(-3e-3f), bf16(240.0f)};
  std::vector<bf16> back(some.size());
  for (const char* dtype : {"F64", "F32", "BF16", "F16"}) {
    std::vector<std::byte> bytes(some.size() * dtype_bytes(dtype));
    convert_to<bf16>(dtype, some, bytes.data());
    REQUIRE(convert<bf16>(dtype, bytes.data(), std::span(back)) == -1);
    for (std::size_t i = 0; i < some.size(); ++i) CHECK(back[i].bits == some[i].bits);
  }
}

TEST_CASE("a whole array is converted to each format and back") {
  const std::vector<double> values{0.1, -2.5, 65504, 1e-7, 3};
  for (const auto& [dtype, precision] :
       {std::pair{"F64", 0.0}, {"F32", 6e-8}, {"BF16", 0.004}, {"F16", 0.0005}}) {
    std::vector<std::byte> bytes(values.size() * dtype_bytes(dtype));
    convert_to<double>(dtype, values, bytes.data());
    std::vector<double> back(values.size());
    CHECK(convert<double>(dtype, bytes.data(), std::span(back)) == -1);
    for (std::size_t i = 0; i < values.size(); ++i)
      CHECK(std::abs(back[i] - values[i]) <= precision * std::abs(values[i]) + (i == 3 ? 3e-8 : 0));
  }
  CHECK_FALSE(can_write("I64"));
}
