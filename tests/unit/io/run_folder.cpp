#include "retort/io/run_folder.hpp"

#include <string>

#include "catch.hpp"
#include "folder.hpp"

using namespace retort;
using namespace retort::test;
using nlohmann::json;

TEST_CASE("a run folder has the configuration, version and seed of its run") {
  const Folder folder("run");
  const RunFolder run(folder / "deep/er");
  CHECK_FALSE(run.has_checkpoint());
  run.write_config({{"width", 48}}, ~std::uint64_t{0});
  const auto written = json::parse(contents(run.config_path()));
  CHECK(written == json{{"library", "retort " + std::string(version)},
                        {"seed", ~std::uint64_t{0}},
                        {"config", {{"width", 48}}}});
  run.write_samples(100, "kat -> K AE T\n");
  CHECK(contents(folder / "deep/er/samples/step_00000100.txt") == "kat -> K AE T\n");
  write_plainly(run.checkpoint_path(), "");
  CHECK(run.has_checkpoint());
}

TEST_CASE("a configuration that is missing or damaged is written again, any other left as it is") {
  const Folder folder("run");
  const RunFolder run(folder / "a");
  const json config{{"width", 48}, {"note", "\xff"}, {"rate", HUGE_VAL}};
  run.write_config(config, 7);
  const std::string right = contents(run.config_path());
  CHECK(run.mend_config(config, 7).empty());
  const std::string mended =
      "'" + run.config_path().string() + "' was missing or damaged and is written again from the checkpoint";
  for (const std::string& bad : {right.substr(0, right.size() / 2), std::string(), std::string("[]"),
                                 std::string("{\"config\": 3}"), std::string(100, '\0')}) {
    write_plainly(run.config_path(), bad);
    CHECK(run.mend_config(config, 7) == mended);
    CHECK(contents(run.config_path()) == right);
  }
  std::filesystem::remove(run.config_path());
  CHECK(run.mend_config(config, 7) == mended);
  CHECK(contents(run.config_path()) == right);

  const std::string edited = json{{"seed", 7}, {"config", {{"width", 49}}}}.dump();
  write_plainly(run.config_path(), edited);
  CHECK(run.mend_config(config, 7) ==
        "'" + run.config_path().string() +
            "' differs from the checkpoint's configuration, which the run follows");
  CHECK(contents(run.config_path()) == edited);
}

TEST_CASE("metrics are one object a line, and a run that goes on drops what came after its checkpoint") {
  const Folder folder("run");
  {
    RunFolder run(folder / "a");
    run.keep_metrics(-1);
    for (int step = 1; step <= 5; ++step) run.append_metrics({{"step", step}, {"loss", 0.5 / step}});
    run.sync_metrics();
  }
  const std::string whole = contents(folder / "a/metrics.jsonl");
  CHECK(whole.starts_with("{\"loss\":0.5,\"step\":1}\n{\"loss\":0.25,\"step\":2}\n"));
  for (const char* tail : {"", "{\"st", "{\"step\":6}", "nonsense\nmore\n"}) {
    write_plainly(folder / "a/metrics.jsonl", whole + tail);
    RunFolder run(folder / "a");
    run.keep_metrics(3);
    for (int step = 4; step <= 5; ++step) run.append_metrics({{"step", step}, {"loss", 0.5 / step}});
    CHECK(contents(run.metrics_path()) == whole);
    run.keep_metrics(5);
    CHECK(contents(run.metrics_path()) == whole);
    run.keep_metrics(-1);
    CHECK(contents(run.metrics_path()).empty());
  }
}

TEST_CASE("a metrics line that cannot be read is named by its number, and nothing is lost") {
  const Folder folder("run");
  RunFolder run(folder / "a");
  const std::string bad = "{\"step\":1}\nnonsense\n{\"step\":3}\n";
  write_plainly(run.metrics_path(), bad);
  CHECK(message_of<FileError>([&] { run.keep_metrics(3); }) ==
        "[run folder] '" + run.metrics_path().string() + "', line 2: not a JSON object with a step");
  CHECK(contents(run.metrics_path()) == bad);
  CHECK_THROWS_AS(run.append_metrics({{"loss", 1}}), ValueError);
  CHECK_THROWS_AS(run.append_metrics({{"step", 1.5}}), ValueError);
  CHECK(contents(run.metrics_path()) == bad);
}

TEST_CASE("a folder in use by another run is refused, and free when that one ends") {
  const Folder folder("run");
  {
    const RunFolder run(folder / "a");
    CHECK(message_of<FileError>([&] { RunFolder again(folder / "a"); }) ==
          "[run folder] '" + (folder / "a").string() + "' is in use by another run");
  }
  const RunFolder run(folder / "a");
}

TEST_CASE("a folder that cannot be made is refused with its name") {
  const Folder folder("run");
  write_plainly(folder / "file", "x");
  CHECK_THAT(message_of<FileError>([&] { RunFolder run(folder / "file/run"); }),
             Catch::Matchers::Contains("file/run': "));
  CHECK_THAT(message_of<FileError>([&] { RunFolder run(folder / "file"); }),
             Catch::Matchers::Contains("file': "));
}

TEST_CASE("a full disk leaves whole lines") {
  const Folder folder("run");
  RunFolder run(folder / "a");
  run.append_metrics({{"step", 1}});
  {
    const SmallDisk disk(16);
    CHECK_THROWS_AS(run.append_metrics({{"step", 2}, {"loss", 0.123456}}), FileError);
  }
  CHECK(contents(run.metrics_path()) == "{\"step\":1}\n");
  run.append_metrics({{"step", 2}});
  CHECK(contents(run.metrics_path()) == "{\"step\":1}\n{\"step\":2}\n");
}

TEST_CASE("numbers that JSON does not know and text that is not UTF-8 do not stop a run") {
  const Folder folder("run");
  RunFolder run(folder / "a");
  run.append_metrics({{"step", 1}, {"loss", std::nan("")}, {"word", "\xff"}});
  CHECK(contents(run.metrics_path()) == "{\"loss\":null,\"step\":1,\"word\":\"\xef\xbf\xbd\"}\n");
}
