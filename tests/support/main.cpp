// The one main of all test programs: Catch2's (2 or 3), which also writes its tests down for ctest and has an
// exit status of its own for skipped tests.
#if !defined(RETORT_CATCH2_VERSION_2) && __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#include <catch2/internal/catch_test_case_registry_impl.hpp>
#define RETORT_CATCH_VERSION 3
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#define RETORT_CATCH_VERSION 2
#endif

#include <algorithm>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>

namespace {

/// What ctest takes for "skipped".
constexpr int skipped_status = 77;
int skips = 0;

#if RETORT_CATCH_VERSION == 3
const Catch::TestCaseInfo& info(const Catch::TestCaseHandle& test) {
  return test.getTestCaseInfo();
}
#else
const Catch::TestCaseInfo& info(const Catch::TestCase& test) {
  return test;
}
#endif

/// Selects the test case of just this name on Catch2's command line. A backslash takes a character as it is,
/// at the start it also keeps a dash from looking like an option.
std::string selector(std::string_view name) {
  std::string spec;
  for (const char c : name) {
    if (std::string_view("\\,[]\"~*").find(c) != std::string_view::npos || (spec.empty() && c == '-'))
      spec += '\\';
    spec += c;
  }
  return spec;
}

/// One ctest entry for every test case: "area/name" (a semicolon would end a name in CMake), labelled with
/// the area.
int write_ctest_script(Catch::Session& session, std::string_view program, const char* path,
                       std::string_view area) {
  std::ofstream script(path);
  for (const auto& test : Catch::getAllTestCasesSorted(session.config())) {
    if (info(test).isHidden()) continue;
    std::string name = std::string(area) + '/' + std::string(info(test).name);
    std::replace(name.begin(), name.end(), ';', ',');
    script << "add_test([==[" << name << "]==] [==[" << program << "]==] [==[" << selector(info(test).name)
           << "]==])\n"
           << "set_tests_properties([==[" << name << "]==] PROPERTIES LABELS " << area << " SKIP_RETURN_CODE "
           << skipped_status
           << " TIMEOUT 300"
           // Waiting threads sleep: ctest runs several of these programs at once.
           << " ENVIRONMENT OMP_WAIT_POLICY=passive)\n";
  }
  script.close();
  if (!script) std::cerr << "cannot write " << path << '\n';
  return script ? 0 : 1;
}

}  // namespace

namespace retort::test {

void skip(std::string_view reason) {
  ++skips;
  std::cout << "SKIPPED: " << reason << std::endl;
}

}  // namespace retort::test

/// `--ctest-script FILE AREA` writes the tests down for ctest; anything else goes to Catch2. Returns 0 if all
/// passed, 77 if all passed but at least one was skipped, otherwise Catch2's count of failures (or 2: no test
/// of that name).
int main(int argc, char** argv) {
  Catch::Session session;
  if (argc == 4 && std::string_view(argv[1]) == "--ctest-script")
    return write_ctest_script(session, argv[0], argv[2], argv[3]);
#if RETORT_CATCH_VERSION == 2
  session.configData().warnings = Catch::WarnAbout::NoTests;  // the default of version 3
#endif
  const int failures = session.run(argc, argv);
  return failures == 0 && skips > 0 ? skipped_status : failures;
}
