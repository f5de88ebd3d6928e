#include "retort/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "folder.hpp"
#include "retort/core/philox.hpp"

using namespace retort;
using namespace retort::test;

namespace {

using Floats = Tensor<float, CpuDevice>;

std::string with_length(std::string header) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header;
}

std::string small_file(const std::filesystem::path& path) {
  SafetensorsWriter writer;
  writer.add("a", Floats::from({2, 3}, {1, 2, 3, 4, 5, 6}));
  writer.add("b", {3}, std::vector<std::int64_t>{7, -8, 9});
  writer.metadata("step", "12");
  writer.write(path, true);
  return contents(path);
}

// Opens and reads all that there is.
void read_everything(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  for (const auto& name : file.names()) {
    if (file.can_read<double>(name)) (void)file.read<double>(name);
    if (file.can_read<std::int32_t>(name)) (void)file.read<std::int32_t>(name);
    (void)file.shape(name);
  }
}

}  // namespace

TEST_CASE("what is written is read back, with names, shapes, types and metadata") {
  const Folder folder("safetensors");
  const auto path = folder / "file.safetensors";
  SafetensorsWriter writer;
  writer.add("layer.weight", Floats::from({2, 3}, {1, -2, 3.5f, 4, 5, 1e-30f}));
  writer.add("ids", Tensor<std::int32_t, CpuDevice>::from({3}, {1, -2, 2'000'000'000}));
  writer.add("double", Tensor<double, CpuDevice>::from({1, 1}, {0.1}));
  writer.add("long", {2}, std::vector<std::int64_t>{std::int64_t{1} << 60, -1});
  writer.add("scalar", Floats::from({}, {2.5f}));
  writer.add("empty", Floats({0, 4}));
  writer.metadata("who", "nobody");
  writer.metadata("who", "\"Käthe\"\n");
  writer.write(path);

  const SafetensorsFile file(path);
  CHECK(file.names().size() == 6);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"who", "\"Käthe\"\n"}});
  CHECK(file.shape("layer.weight") == Shape{2, 3});
  CHECK(file.shape("scalar") == Shape{});
  CHECK(file.shape("empty") == Shape{0, 4});
  CHECK(file.dtype("layer.weight") == "F32");
  CHECK(file.dtype("long") == "I64");
  CHECK(file.read<float>("layer.weight") == std::vector<float>{1, -2, 3.5f, 4, 5, 1e-30f});
  CHECK(file.read<double>("layer.weight")[2] == 3.5);
  CHECK(file.read<std::int32_t>("ids") == std::vector<std::int32_t>{1, -2, 2'000'000'000});
  CHECK(file.read<double>("double") == std::vector<double>{0.1});
  CHECK(file.read<float>("double") == std::vector<float>{0.1f});
  CHECK(file.read<std::int64_t>("long") == std::vector<std::int64_t>{std::int64_t{1} << 60, -1});
  CHECK(file.read<float>("scalar") == std::vector<float>{2.5f});
  CHECK(file.read<float>("empty").empty());
  Floats tensor({2, 3});
  file.read("layer.weight", tensor);
  CHECK(tensor.to_host() == file.read<float>("layer.weight"));
}

TEST_CASE("every tensor starts at a multiple of its element's size") {
  const Folder folder("safetensors");
  const auto path = folder / "file.safetensors";
  for (std::size_t name_length = 1; name_length < 10; ++name_length) {
    SafetensorsWriter writer;
    writer.add(std::string(name_length, 'x'), Floats::from({1}, {1}));
    writer.add("y", {1}, std::vector<std::int64_t>{5});
    writer.write(path);
    const std::string bytes = contents(path);
    CHECK((bytes.size() - 12) % 8 == 0);
    CHECK(SafetensorsFile(path).names().front() == "y");
  }
}

TEST_CASE("a file of the reference implementation is read") {
  // safetensors 0.8.0: half = [1, -0.5, 65504, 6e-8, inf], matrix = [[1, 2, 3], [4, 5, 6.5]], ids = [2^40,
  // -1], empty (0, 4), scalar 0.1
  const Folder folder("safetensors");
  const auto path = folder / "file.safetensors";
  const unsigned char data[] = {0,    0,    0,    0,    0,    1,    0,    0,    0xff, 0xff, 0xff, 0xff,
                                0xff, 0xff, 0xff, 0xff, 0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f,
                                0,    0,    0x80, 0x3f, 0,    0,    0,    0x40, 0,    0,    0x40, 0x40,
                                0,    0,    0x80, 0x40, 0,    0,    0xa0, 0x40, 0,    0,    0xd0, 0x40,
                                0,    0x3c, 0,    0xb8, 0xff, 0x7b, 1,    0,    0,    0x7c};
  write_plainly(
      path,
      with_length(R"({"__metadata__":{"made by":"safetensors 0.x"},"ids":{"dtype":"I64","shape":[2],)"
                  R"("data_offsets":[0,16]},"scalar":{"dtype":"F64","shape":[],"data_offsets":[16,24]},)"
                  R"("empty":{"dtype":"F32","shape":[0,4],"data_offsets":[24,24]},"matrix":{"dtype":"F32",)"
                  R"("shape":[2,3],"data_offsets":[24,48]},"half":{"dtype":"F16","shape":[5],)"
                  R"("data_offsets":[48,58]}}  )") +
          std::string(reinterpret_cast<const char*>(data), sizeof data));
  const SafetensorsFile file(path);
  CHECK(file.names() == std::vector<std::string>{"ids", "scalar", "empty", "matrix", "half"});
  CHECK(file.metadata().at("made by") == "safetensors 0.x");
  CHECK(file.read<std::int64_t>("ids") == std::vector<std::int64_t>{std::int64_t{1} << 40, -1});
  CHECK(file.read<double>("scalar") == std::vector<double>{0.1});
  CHECK(file.read<float>("matrix") == std::vector<float>{1, 2, 3, 4, 5, 6.5f});
  const auto half = file.read<float>("half");
  CHECK(half == std::vector<float>{1, -0.5f, 65504, 0x1p-24f, std::numeric_limits<float>::infinity()});
}

TEST_CASE("half precision: all values of both formats are exact") {
  for (int bits = 0; bits < 65536; ++bits) {
    const auto word = static_cast<std::uint16_t>(bits);
    const float half = static_cast<float>(Half{word}), brain = static_cast<float>(std::bit_cast<bf16>(word));
    const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31 && fraction != 0) {
      CHECK(std::isnan(half));
    } else {
      const double value = exponent == 31  ? std::numeric_limits<double>::infinity()
                           : exponent == 0 ? std::ldexp(fraction, -24)
                                           : std::ldexp(1024 + fraction, exponent - 25);
      CHECK((half == sign * value && std::signbit(half) == (sign < 0)));
    }
    const int wide = (bits >> 7) & 255, short_fraction = bits & 127;
    if (wide != 255) {
      const double value =
          wide == 0 ? std::ldexp(short_fraction, -133) : std::ldexp(128 + short_fraction, wide - 134);
      CHECK(brain == sign * value);
    }
  }
}

TEST_CASE("the checksum is XXH64, however the bytes are cut") {
  // Python's xxhash: xxh64(bytes((i * 7 + 3) % 256 for i in range(n)))
  const std::pair<std::size_t, std::uint64_t> known[] = {
      {0, 0xef46db3751d8e999},   {1, 0x1f25c8d0bc1f4bb6},  {3, 0x31d2363f52e564c9},
      {4, 0x9bb64b7d66ee9fda},   {8, 0xdab99d95c6f90092},  {31, 0xa2aa5f33cc4a6119},
      {32, 0x23c3c17ef790fd97},  {33, 0x50a7cfc7ba588784}, {100, 0xa61f8d4c170fe531},
      {1000, 0x5f235fa033f1a3fb}};
  for (const auto& [size, expected] : known) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 7 + 3) % 256);
    for (const std::size_t piece : {1, 5, 31, 32, 33, 1000}) {
      Checksum sum;
      for (std::size_t at = 0; at < size; at += piece)
        sum.update(std::span(bytes).subspan(at, std::min(piece, size - at)));
      CHECK(sum.value() == expected);
    }
  }
}

TEST_CASE("faults of a header are refused with file, tensor and reason") {
  const Folder folder("safetensors");
  const auto path = folder / "bad.safetensors";
  const auto refusal = [&](const std::string& bytes) {
    write_plainly(path, bytes);
    return message_of<FileError>([&] { read_everything(path); });
  };
  const auto header = [&](const std::string& json, std::size_t data) {
    const std::string text = refusal(with_length(json) + std::string(data, '\0'));
    CHECK(text.find("bad.safetensors'") != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
    return text.substr(text.find("', ") == std::string::npos ? text.find("' ") + 2 : text.find("', ") + 3);
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(refusal(""), Contains("it has 0 bytes"));
  CHECK_THAT(refusal("1234567"), Contains("it has 7 bytes"));
  CHECK_THAT(refusal(std::string(8, '\xff') + "{}"),
             Contains("its header has 18446744073709551615 bytes, the file 10"));
  CHECK_THAT(refusal(std::string(8, '\0')), Contains("does not begin with '{'"));
  CHECK_THAT(header("[]", 0), Contains("does not begin with '{'"));
  CHECK_THAT(header("{\"a\"", 0), Contains("parse error"));
  CHECK_THAT(header("{\"\xff\": 1}", 0), Contains("parse error"));
  CHECK_THAT(header("{} x", 0), Contains("parse error"));
  CHECK_THAT(header("{\"a\":{\"shape\":" + std::string(1000, '[') + std::string(1000, ']') + "}}", 0),
             Contains("nested too deeply"));
  CHECK_THAT(header(R"({"a":{"shape":{"of":1}}})", 0), Contains("nested too deeply"));
  CHECK_THAT(header(R"({"__metadata__":{"step":12}})", 0), Contains("its metadata has 12 under \"step\""));
  CHECK_THAT(header(R"({"__metadata__":{"step":[]}})", 0), Contains("its metadata has [] under \"step\""));
  CHECK_THAT(header(R"({"__metadata__":12})", 0), Contains("its metadata is 12, expected an object"));
  CHECK_THAT(header(R"({"__metadata__":{"a":"b","a":"b"}})", 0), Contains("names \"a\" twice"));
  CHECK_THAT(header(R"({"__metadata__":{},"__metadata__":{}})", 0), Contains("names \"__metadata__\" twice"));
  CHECK_THAT(header("{}", 3), Contains("3 bytes at its end belong to no tensor"));

  const auto tensor = [&](const std::string& fields, std::size_t data = 4) {
    return header("{\"t\":{" + fields + "}}", data);
  };
  CHECK(header(R"({"t":7})", 0) == "tensor \"t\": the header gives no dtype");
  CHECK(tensor(R"("dtype":"F32","shape":[1])") == "tensor \"t\": the header gives no data_offsets");
  CHECK(tensor(R"("dtype":"F99","shape":[1],"data_offsets":[0,4])") == "tensor \"t\": unknown dtype \"F99\"");
  CHECK(tensor(R"("dtype":32,"shape":[1],"data_offsets":[0,4])") == "tensor \"t\": unknown dtype 32");
  CHECK(tensor(R"("dtype":"F32","shape":4,"data_offsets":[0,4])") ==
        "tensor \"t\": shape is 4, expected a list");
  CHECK(tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])") ==
        "tensor \"t\": shape holds -1, expected a number of at least 0");
  CHECK(tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])") ==
        "tensor \"t\": shape holds 1.0, expected a number of at least 0");
  CHECK(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])") ==
        "tensor \"t\": data_offsets is [0,4,8], expected two numbers");
  CHECK(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])") ==
        "tensor \"t\": its bytes [0, 8) are not among the 4 of the file's data: is the file truncated?");
  CHECK(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])") ==
        "tensor \"t\": its bytes [4, 0) are not among the 4 of the file's data: is the file truncated?");
  CHECK(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,4])") ==
        "tensor \"t\": [3] elements of F32 need 12 bytes, the header gives 4");
  CHECK(tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4])") ==
        "tensor \"t\": shape [4611686018427387904,4] is too large");
  CHECK(tensor(R"("dtype":"F32","shape":[1,1,1,1,1,1],"data_offsets":[0,4])") ==
        "tensor \"t\": has 6 dimensions, at most 5 are supported");
  CHECK_THAT(header(R"({"t":{"dtype":"I8","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"I8","shape":[0],)"
                    R"("data_offsets":[0,0]}})",
                    0),
             Contains("names \"t\" twice"));

  const auto two = [&](const char* a, const char* b, std::size_t data) {
    return header(
        fmt::format(R"({{"a":{{"dtype":"I8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"I8","shape":[4],)"
                    R"("data_offsets":{}}}}})",
                    a, b),
        data);
  };
  CHECK(two("[0,4]", "[2,6]", 6) == "tensor \"b\": overlaps the tensor before it");
  CHECK(two("[0,4]", "[0,4]", 4) == "tensor \"b\": overlaps the tensor before it");
  CHECK(two("[5,9]", "[0,4]", 9) == "tensor \"a\": 1 bytes before it belong to no tensor");
  CHECK(header("{\"line\\nbreak\":{}}", 0) == "tensor \"line\\nbreak\": the header gives no dtype");
}

TEST_CASE("a long header of something else is refused where it goes wrong") {
  using Catch::Matchers::Contains;
  const Folder folder("safetensors");
  const auto repeated = [](const char* text, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += fmt::format(fmt::runtime(text), i);
    return all;
  };
  const auto refusal = [&](const std::string& json) {
    write_plainly(folder / "long.safetensors", with_length(json));
    const std::string text =
        message_of<FileError>([&] { SafetensorsFile file(folder / "long.safetensors"); });
    return text.substr(text.find("': ") == std::string::npos ? text.find("', ") + 3 : text.find("': ") + 3);
  };
  constexpr int many = 300'000;
  CHECK(refusal("{\"a\":[" + repeated("{{}},", many)) == "tensor \"a\": the header gives no dtype");
  CHECK(refusal("{" + repeated("\"{}\":0,", many)) == "tensor \"0\": the header gives no dtype");
  CHECK(refusal("{\"a\":{\"shape\":[" + repeated("0,", many)) ==
        "tensor \"a\": shape holds more than 64 numbers");
  CHECK(refusal("{\"a\":{" + repeated("\"{}\":0,", many) + "\"x\":0}}") ==
        "tensor \"a\": the header gives no dtype");
  // Whatever is right by itself must not cost many times the file's size.
  const auto empty_tensors = [&](int count) {
    return "{" + repeated("\"{}\":{{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]}},", count) +
           "\"last\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
  };
  CHECK_THAT(refusal(empty_tensors(many)), Contains("tensors and 0 texts, too many for its size"));
  CHECK_THAT(refusal("{\"__metadata__\":{" + repeated("\"{}\":\"\",", many) + "\"x\":\"\"}}"),
             Contains("0 tensors and"));
  write_plainly(folder / "long.safetensors", with_length(empty_tensors(20'000)));
  CHECK(SafetensorsFile(folder / "long.safetensors").names().size() == 20'001);
}

TEST_CASE("a file that is missing or none is refused with the system's reason") {
  const Folder folder("safetensors");
  CHECK_THAT(message_of<FileError>([&] { SafetensorsFile file(folder / "none"); }),
             Catch::Matchers::Contains("none': No such file or directory"));
  CHECK_THAT(message_of<FileError>([&] { SafetensorsFile file(folder.path); }),
             Catch::Matchers::Contains("': Is a directory"));
  CHECK_THROWS_AS(SafetensorsFile("/dev/null"), FileError);
}

TEST_CASE("a wrong request is refused and names the tensor") {
  const Folder folder("safetensors");
  const auto path = folder / "file.safetensors";
  SafetensorsWriter writer;
  writer.add("a", Floats::from({2, 3}, {1, 2, 3, 4, 5, 6}));
  writer.add("long", {2}, std::vector<std::int64_t>{1, std::int64_t{1} << 40});
  writer.write(path);
  const SafetensorsFile file(path);
  const auto refusal = [&](auto f) {
    const std::string text = message_of<FileError>(f);
    return text.substr(std::min(text.find("tensor \""), text.size()));
  };
  Floats wrong({3, 2});
  std::vector<float> few(5);
  CHECK(refusal([&] { file.read("a", wrong); }) == "tensor \"a\": has shape (2, 3), expected (3, 2)");
  CHECK(refusal([&] { file.read("a", std::span(few)); }) == "tensor \"a\": has 6 elements, 5 were asked for");
  CHECK(refusal([&] { (void)file.read<float>("b"); }) == "tensor \"b\": is not in the file");
  CHECK(refusal([&] { (void)file.shape("b"); }) == "tensor \"b\": is not in the file");
  CHECK(refusal([&] { (void)file.read<std::int32_t>("a"); }) ==
        "tensor \"a\": holds F32, which is not read as I32");
  CHECK(refusal([&] { (void)file.read<std::int32_t>("long"); }) ==
        "tensor \"long\": element 1 does not fit I32");
  CHECK(file.read<double>("long")[1] == std::ldexp(1, 40));
}

TEST_CASE("a writer refuses what could not be read back") {
  const Folder folder("safetensors");
  SafetensorsWriter writer;
  writer.add("a", Floats::from({1}, {1}));
  CHECK(message_of<ValueError>([&] { writer.add("a", Floats::from({1}, {1})); }) ==
        "[safetensors] two tensors are called 'a'");
  CHECK_THROWS_AS(writer.add("__metadata__", Floats::from({1}, {1})), ValueError);
  CHECK_THROWS_AS(writer.add("undefined", Floats()), ValueError);
  CHECK_THROWS_AS(writer.add("b", {3}, std::vector<float>{1}), ShapeError);
  writer.add("\xff", Floats::from({1}, {1}));
  CHECK_THROWS_AS(writer.write(folder / "file"), ValueError);
  CHECK_FALSE(std::filesystem::exists(folder / "file"));
}

TEST_CASE("no prefix of a file is read as a file") {
  const Folder folder("safetensors");
  const std::string whole = small_file(folder / "whole");
  read_everything(folder / "whole");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_plainly(folder / "cut", std::string_view(whole).substr(0, size));
    CHECK_THROWS_AS(read_everything(folder / "cut"), FileError);
  }
  write_plainly(folder / "cut", whole + "x");
  CHECK_THROWS_AS(read_everything(folder / "cut"), FileError);
}

TEST_CASE("damage anywhere is a FileError or harmless, and the checksum finds it") {
  const Folder folder("safetensors");
  const std::string whole = small_file(folder / "whole");
  SafetensorsFile(folder / "whole").verify_checksum();
  const std::size_t header_end = whole.rfind('}') + 1;
  const RandomKey key{7, 7};
  int refused = 0, found = 0;
  constexpr int rounds = 6000;
  for (int round = 0; round < rounds; ++round) {
    const auto random = key.block(static_cast<std::uint64_t>(round));
    std::string bytes = whole;
    // Up to three changes, two times of three inside the header; one time of four whole bytes.
    for (std::uint32_t k = 0; k <= random[0] % 3; ++k) {
      const std::size_t at = (random[1] + k * random[2]) % (random[3] % 3 == 0 ? whole.size() : header_end);
      bytes[at] = static_cast<char>(bytes[at] ^
                                    (random[3] % 4 == 0 ? random[2] >> 8 & 255 : 1u << (random[2] + k) % 8));
    }
    if (bytes == whole) continue;
    write_plainly(folder / "damaged", bytes);
    try {
      read_everything(folder / "damaged");
    } catch (const FileError&) {
      ++refused;
      continue;
    }
    try {
      SafetensorsFile(folder / "damaged").verify_checksum();
      // Only white space can differ without a difference in meaning.
      bytes.erase(std::remove(bytes.begin(), bytes.end(), ' '), bytes.end());
      INFO(bytes);
      CHECK(nlohmann::json::parse(bytes.substr(8, bytes.rfind('}') - 7)) ==
            nlohmann::json::parse(whole.substr(8, header_end - 8)));
    } catch (const FileError&) {
      ++found;
    }
  }
  CHECK(refused > rounds / 4);
  CHECK(found > rounds / 20);
}

TEST_CASE("verifying a file without a checksum says so") {
  const Folder folder("safetensors");
  SafetensorsWriter writer;
  writer.add("a", Floats::from({1}, {1}));
  writer.write(folder / "file");
  CHECK_THAT(message_of<FileError>([&] { SafetensorsFile(folder / "file").verify_checksum(); }),
             Catch::Matchers::Contains("has no checksum"));
}

TEST_CASE("a full disk leaves the old file") {
  const Folder folder("safetensors");
  const std::string before = small_file(folder / "file");
  SafetensorsWriter writer;
  writer.add("large", Floats::zeros({100'000}));
  {
    const SmallDisk disk(65536);
    CHECK_THROWS_AS(writer.write(folder / "file"), FileError);
  }
  CHECK(contents(folder / "file") == before);
}
