// Teacher files: what is written comes back, and what is not theirs is refused.
#include "retort/io/teacher_file.hpp"

#include <cmath>

#include "catch.hpp"
#include "folder.hpp"
#include "numbers.hpp"
#include "retort/io/teacher_file_writer.hpp"

using namespace retort;
using namespace retort::test;
using Catch::Matchers::Contains;

namespace {

/// Examples 100, 110, 120 ... with prompts of 0 to 3 and responses of 0 to 4 tokens.
Batch examples(int count, Index vocabulary) {
  Batch batch;
  for (int i = 0; i < count; ++i) {
    const auto tokens = indices(8, vocabulary, static_cast<std::uint64_t>(i));
    const std::span all(tokens);
    batch.push_back(all.first(static_cast<std::size_t>(i % 4)),
                    all.subspan(3, static_cast<std::size_t>(i % 5)),
                    static_cast<std::uint64_t>(100 + 10 * i));
  }
  return batch;
}

/// Targets of a batch's responses that no model has made; some rows without a tail.
SparseTargets invent(const Batch& batch, Index k, Index vocabulary) {
  SparseTargets targets{.k = k, .vocabulary = vocabulary, .temperature = 1.5};
  targets.offsets = batch.responses.offsets;
  for (Index r = 0; r < batch.responses.total(); ++r) {
    const auto stream = static_cast<std::uint64_t>(r);
    const auto z = normals<double>(k + 1, stream, 4);
    double total = 0;
    const bool tail = r % 3 != 0;
    for (Index i = 0; i < k + (tail ? 1 : 0); ++i) total += std::exp(z[std::size_t(i)]);
    for (Index i = 0; i < k; ++i) {
      targets.ids.push_back(static_cast<std::int32_t>((r + i * (vocabulary / k)) % vocabulary));
      targets.log_p.push_back(z[std::size_t(i)] - std::log(total));
    }
    targets.log_tail.push_back(tail ? z[std::size_t(k)] - std::log(total) : -HUGE_VAL);
  }
  targets.check();
  return targets;
}

TeacherFileInfo info_of(Index k, Index vocabulary, const char* dtype = "F16") {
  return {.k = k,
          .vocabulary = vocabulary,
          .temperature = 1.5,
          .dtype = dtype,
          .tokenizer = "0123",
          .teacher = "a model"};
}

void write(const std::filesystem::path& path, const Batch& batch, const SparseTargets& targets,
           const char* dtype = "F16", int part = 1000) {
  TeacherFileWriter writer(path, info_of(targets.k, targets.vocabulary, dtype));
  for (int first = 0; first < batch.size(); first += part) {
    const int last = std::min(batch.size(), first + part);
    writer.add(batch.slice(first, last), targets.slice(first, last));
  }
  CHECK(writer.examples() == std::size_t(batch.size()));
  writer.finish();
}

/// Everything that a file says.
std::string read_all(const std::filesystem::path& path) {
  const TeacherFile file(path);
  file.verify();
  const Batch data = file.data();
  const auto targets = file.targets(data);
  std::string text = fmt::format("{} {} {} ", file.info().k, file.info().dtype, file.info().temperature);
  for (const double x : targets.log_p) text += fmt::format("{} ", x);
  return text + fmt::format("{} {}", targets.ids.size(), data.size());
}

std::string refusal(const std::filesystem::path& path) {
  const auto text = message_of<FileError>([&] { (void)read_all(path); });
  const std::string begin = "[teacher_file] '" + path.string() + "' ";
  return text.starts_with(begin) ? text.substr(begin.size()) : text;
}

}  // namespace

TEST_CASE("targets come back by example, rounded as their type does, and sum to 1") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  for (const Index vocabulary : {40, 70'000})  // ids of 16 and of 32 bits
    for (const auto& [dtype, precision, bytes] :
         {std::tuple{"F32", 6e-8, 4}, {"F16", 5e-4, 2}, {"BF16", 4e-3, 2}}) {
      CAPTURE(vocabulary, dtype);
      const Batch batch = examples(23, vocabulary);
      const auto targets = invent(batch, 5, vocabulary);
      write(path, batch, targets, dtype);
      const TeacherFile file(path);
      file.verify();
      CHECK(file.examples() == 23);
      CHECK(file.prompt_tokens() == std::uint64_t(batch.prompts.total()));
      CHECK(file.response_tokens() == std::uint64_t(batch.responses.total()));
      CHECK(file.info().k == 5);
      CHECK(file.info().vocabulary == vocabulary);
      CHECK(file.info().temperature == 1.5);
      CHECK(file.info().dtype == dtype);
      CHECK(file.info().tokenizer == "0123");
      CHECK(file.info().teacher == "a model");
      CHECK(file.data() == batch);

      const std::vector<int> some{7, 0, 22, 7, 13};  // any order, one of them twice
      const auto back = file.targets(batch.select(some)), there = targets.select(some);
      back.check();
      CHECK(back.ids == there.ids);
      CHECK(back.offsets == there.offsets);
      CHECK(back.temperature == 1.5);
      double most = 0;  // of a log-probability, rounded and then moved by what the rounding of all did
      for (const double p : there.log_p) most = std::max(most, -p);
      for (const double p : there.log_tail)
        if (p > -HUGE_VAL) most = std::max(most, -p);
      for (std::size_t i = 0; i < there.log_p.size(); ++i)
        REQUIRE(std::abs(back.log_p[i] - there.log_p[i]) <= 2 * precision * most);
      for (std::size_t r = 0; r < there.log_tail.size(); ++r) {
        REQUIRE((back.log_tail[r] == there.log_tail[r] ||
                 std::abs(back.log_tail[r] - there.log_tail[r]) <= 2 * precision * most));
        double sum = std::exp(back.log_tail[r]);
        for (std::size_t i = 0; i < 5; ++i) sum += std::exp(back.log_p[5 * r + i]);
        CHECK(sum == Approx(1).epsilon(1e-14));
      }
      const auto id_bytes = std::size_t(vocabulary > 65536 ? 4 : 2);
      CHECK(file.info().row_bytes() == 6 * id_bytes + 6 * std::size_t(bytes));
      // Nothing is there besides: magic, header and its length, index, footer; 16 bytes a record.
      const std::string header = to_json(file.info()).dump();
      CHECK(std::filesystem::file_size(path) ==
            24 + header.size() + 23 * (16 + 16) + 40 + std::size_t(batch.prompts.total()) * id_bytes +
                std::size_t(batch.responses.total()) * file.info().row_bytes());
    }
}

TEST_CASE("the layout is the documented one, byte for byte") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  Batch batch;
  batch.push_back(std::vector{3, 2}, std::vector{1}, 9);
  TeacherFileWriter writer(path, {.k = 2, .vocabulary = 4, .dtype = "F32"});
  writer.add(batch, {.k = 2,
                     .vocabulary = 4,
                     .ids = {1, 3},
                     .log_p = {std::log(.5), std::log(.25)},
                     .log_tail = {std::log(.25)},
                     .offsets = {0, 1}});
  writer.finish();
  std::string want = "retort.teacher 1";
  const auto add = [&](auto x) { want.append(reinterpret_cast<const char*>(&x), sizeof x); };
  const auto checksum = [](std::string_view bytes) {
    Checksum sum;
    sum.update(std::as_bytes(std::span(bytes)));
    return sum.value();
  };
  const std::string header =
      R"({"dtype":"F32","k":2,"teacher":"","temperature":1.0,"tokenizer":"","vocabulary":4})";
  add(std::uint64_t{header.size()});
  want += header;
  const std::size_t record = want.size();
  add(std::uint32_t{2}), add(std::uint32_t{1});
  for (const int id : {3, 2, 1, 1, 3}) add(static_cast<std::uint16_t>(id));
  for (const double p : {.5, .25, .25}) add(static_cast<float>(std::log(p)));
  add(checksum(std::string_view(want).substr(record)));
  const std::size_t index = want.size();
  add(std::uint64_t{9}), add(std::uint64_t{record});
  add(std::uint64_t{index}), add(std::uint64_t{1}), add(std::uint64_t{2}), add(std::uint64_t{1});
  add(checksum(want.substr(0, record) + want.substr(index)));
  CHECK(contents(path) == want);
}

TEST_CASE("how the examples were divided and ordered on the way in does not matter to the reader") {
  const Folder folder("teacher");
  const auto path = folder / "teacher", other = folder / "other";
  const Batch batch = examples(17, 40);
  const auto targets = invent(batch, 3, 40);
  write(path, batch, targets);
  for (const int part : {1, 4}) {
    write(other, batch, targets, "F16", part);
    CHECK(contents(other) == contents(path));
  }
  std::vector<int> backwards;
  for (int i = 16; i >= 0; --i) backwards.push_back(i);
  write(other, batch.select(backwards), targets.select(backwards));
  CHECK(read_all(other) == read_all(path));
}

TEST_CASE("numbers that 16 bits cannot hold stay finite, -inf stays -inf") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  Batch batch;
  batch.push_back({}, std::vector{1}, 0);
  const SparseTargets extreme{.k = 3,
                              .vocabulary = 4,
                              .temperature = 1.5,
                              .ids = {1, 3, 0},
                              .log_p = {0, -1e6, -HUGE_VAL},
                              .log_tail = {-80'000},
                              .offsets = {0, 1}};
  for (const char* dtype : {"F16", "BF16", "F32"}) {
    write(path, batch, extreme, dtype);
    const auto back = TeacherFile(path).targets(batch);
    CHECK(back.log_p[0] == 0);
    CHECK(std::isfinite(back.log_p[1]));
    CHECK(back.log_p[1] < -60'000);
    CHECK(back.log_p[2] == -HUGE_VAL);
    CHECK(std::isfinite(back.log_tail[0]));
  }
}

TEST_CASE("a file of other data, or of another tokenizer, is refused by example") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  const Batch batch = examples(9, 40);
  write(path, batch, invent(batch, 3, 40));
  const TeacherFile file(path);
  const auto said = [&](const Batch& other) {
    const auto a = message_of<FileError>([&] { file.require(other); });
    CHECK(message_of<FileError>([&] { (void)file.targets(other); }) == a);
    return a;
  };
  const std::string who = "[teacher_file] '" + path.string() + "' ";
  CHECK(said(batch) == "no error");
  CHECK(said({}) == "no error");
  Batch other = batch;
  other.ids[3] = 131;
  CHECK(said(other) == who + "has no example 131: it was made from other data");
  other = batch;
  other.responses.tokens[1] ^= 1;  // example 120's second token
  CHECK(said(other) ==
        who +
            "is of other data: the response of example 120 has 2 tokens there and 2 here, the same up to "
            "token 0");
  other = batch;
  other.prompts = batch.prompts.select(std::vector{0, 1, 3, 3, 4, 5, 6, 7, 8});
  CHECK_THAT(said(other), Contains("the prompt of example 120 has 2 tokens there and 3 here"));
  CHECK(message_of<FileError>([&] { file.require_tokenizer("0124"); }) ==
        who + "was made with another tokenizer: its digest is 0123 there and 0124 here");
  CHECK(message_of<FileError>([&] { file.require_tokenizer("0123"); }) == "no error");
  CHECK(message_of<FileError>([&] { file.require_tokenizer(""); }) == "no error");
}

TEST_CASE("what does not belong into a file is refused, and the file goes on") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  const Batch batch = examples(6, 40);
  const auto targets = invent(batch, 3, 40);
  TeacherFileWriter writer(path, info_of(3, 40));
  writer.add(batch.slice(0, 2), targets.slice(0, 2));
  const auto said = [&](const Batch& b, const SparseTargets& t) {
    return message_of<ValueError>([&] { writer.add(b, t); });
  };
  const auto rest = [&] { return std::pair{batch.slice(2, 6), targets.slice(2, 6)}; };
  auto [b, t] = rest();
  CHECK(said(batch.slice(1, 3), targets.slice(1, 3)) == "[teacher_file] example 110 is given twice");
  b.ids[1] = b.ids[0];
  CHECK(said(b, t) == "[teacher_file] example 120 is given twice");
  CHECK(said(batch.slice(2, 6), targets.slice(2, 5)) ==
        fmt::format("[teacher_file] the targets are of other responses than the batch's: 3 of 9 tokens for "
                    "4 of {}",
                    batch.slice(2, 6).responses.total()));
  std::tie(b, t) = rest();
  t.temperature = 1;
  CHECK_THAT(said(b, t), Contains("temperature 1 for a file of k 3, vocabulary 40 and temperature 1.5"));
  CHECK_THAT(said(rest().first, rest().second.top(2)), Contains("targets of k 2"));
  std::tie(b, t) = rest();
  t.log_p[0] = 0;
  CHECK_THAT(said(b, t), Contains("add up to"));
  std::tie(b, t) = rest();
  b.prompts.tokens[0] = 40;
  CHECK(said(b, t) == "[teacher_file] token 40 is outside the vocabulary of 40");
  writer.add(rest().first, rest().second);
  writer.finish();
  CHECK(TeacherFile(path).data() == batch);

  const auto impossible = [&](auto change) {
    TeacherFileInfo info = info_of(3, 40);
    change(info);
    return message_of<ValueError>([&] { TeacherFileWriter(folder / "none", info); });
  };
  CHECK_THAT(impossible([](auto& i) { i.k = 0; }), Contains("k must be at least 1"));
  CHECK_THAT(impossible([](auto& i) { i.vocabulary = 2; }), Contains("k must be at least 1"));
  CHECK_THAT(impossible([](auto& i) { i.temperature = 0; }), Contains("the temperature must be"));
  CHECK_THAT(impossible([](auto& i) { i.dtype = "F64"; }), Contains("dtype must be F16, BF16 or F32"));
  CHECK_THAT(impossible([](auto& i) { i.teacher = "\xff"; }), Contains("is not text"));
  CHECK_FALSE(std::filesystem::exists(folder / "none"));
}

TEST_CASE("a full disk, or a writer that is not finished, keeps the old file") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  const Batch batch = examples(400, 40);
  const auto targets = invent(batch, 3, 40);
  write(path, batch.slice(0, 3), targets.slice(0, 3));
  const std::string before = contents(path);
  for (const rlim_t limit : {rlim_t{2000}, rlim_t{before.size()}}) {
    const SmallDisk disk(limit);
    CHECK_THAT(message_of<FileError>([&] { write(path, batch, targets, "F16", 10); }),
               Catch::Matchers::StartsWith("[write] cannot write '" + path.string() + "': "));
  }
  {
    TeacherFileWriter writer(path, info_of(3, 40));
    writer.add(batch, targets);
  }
  CHECK(contents(path) == before);
  CHECK(folder.files() == 1);
  write(path, batch, targets);
  CHECK(TeacherFile(path).data() == batch);
}

TEST_CASE("a damaged or truncated teacher file is a FileError that names it, whatever is damaged") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  const Batch batch = examples(8, 40);
  write(path, batch, invent(batch, 3, 40));
  const std::string whole = contents(path), right = read_all(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_plainly(path, std::string_view(whole).substr(0, size));
    REQUIRE_THAT(refusal(path), size < 16 ? Catch::Matchers::StartsWith("is no teacher file")
                                          : Catch::Matchers::StartsWith("is damaged or truncated"));
  }
  write_plainly(path, whole + "x");
  CHECK_THAT(refusal(path), Catch::Matchers::StartsWith("is damaged or truncated"));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    write_plainly(path, bytes);
    INFO("byte " << at);
    REQUIRE_THAT(refusal(path), Catch::Matchers::StartsWith("is "));
  }
  write_plainly(path, whole);
  CHECK(read_all(path) == right);
}

TEST_CASE("another file, and one of a later version, are refused as what they are") {
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  folder.write("teacher", "{\"prompt\": \"What is a teacher file, and what is none?\", \"k\": 12345678}");
  CHECK(refusal(path) == "is no teacher file: it does not begin with 'retort.teacher 1'");
  folder.write("teacher", "");
  CHECK_THAT(refusal(path), Catch::Matchers::StartsWith("is no teacher file"));
  const Batch batch = examples(3, 40);
  write(path, batch, invent(batch, 3, 40));
  std::string bytes = contents(path);
  bytes[15] = '2';
  write_plainly(path, bytes);
  CHECK(refusal(path) == "is a teacher file of version '2', this library reads version 1");
  CHECK_THAT(message_of<FileError>([&] { TeacherFile(folder / "missing"); }),
             Contains("No such file or directory"));
}

TEST_CASE("random changes under right checksums are read or refused, never more") {
  // What somebody else's writer could get wrong: every number of the file, with checksums that fit.
  const Folder folder("teacher");
  const auto path = folder / "teacher";
  const Batch batch = examples(6, 40);
  write(path, batch, invent(batch, 3, 40));
  const std::string whole = contents(path);
  const auto number_at = [](const std::string& bytes, std::size_t at) {
    std::uint64_t x = 0;
    std::memcpy(&x, bytes.data() + at, 8);
    return x;
  };
  const std::size_t first = 24 + number_at(whole, 16), index = number_at(whole, whole.size() - 40);
  const auto mend = [&](std::string& bytes) {  // the checksums, of records where they were
    const auto put = [&](std::size_t at, std::string_view of) {
      Checksum sum;
      sum.update(std::as_bytes(std::span(of)));
      const auto value = sum.value();
      std::memcpy(bytes.data() + at, &value, 8);
    };
    std::vector<std::size_t> ends;
    for (std::size_t i = index; i < whole.size() - 40; i += 16) ends.push_back(number_at(whole, i + 8));
    ends.push_back(index);
    for (std::size_t i = 1; i < ends.size(); ++i)
      put(ends[i] - 8, std::string_view(bytes).substr(ends[i - 1], ends[i] - 8 - ends[i - 1]));
    put(bytes.size() - 8, bytes.substr(0, first) + bytes.substr(index, bytes.size() - 8 - index));
  };
  std::string same = whole;
  mend(same);
  REQUIRE(same == whole);
  const RandomKey key{5, 5};
  int read = 0, refused = 0;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    const auto random = key.block(i);
    std::string bytes = whole;
    const std::size_t at = random[0] % bytes.size();
    bytes[at] = static_cast<char>(random[1] % 3 == 0 ? 0xff : random[1] % 3 == 1 ? 0 : random[2]);
    mend(bytes);
    write_plainly(path, bytes);
    const auto said = refusal(path);
    ++(said == "no error" ? read : refused);
  }
  CHECK(read > 100);
  CHECK(refused > 100);
}
