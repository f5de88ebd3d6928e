#include "retort/io/model_file.hpp"

#include <string>
#include <vector>

#include "catch.hpp"
#include "folder.hpp"

using namespace retort;
using namespace retort::test;

namespace {

template <Backend B>
struct Model {
  Parameter<B> a, b;
  explicit Model(double value, Shape a_shape = {2, 3}) : a("layer.a", a_shape), b("layer.b", {4}) {
    for (auto* p : list())
      for (auto& x : p->value.span()) x = static_cast<typename B::Scalar>(value += 0.25);
  }
  ParameterList<B> list() { return {&a, &b}; }
};

}  // namespace

TEST_CASE("weights come back from a file, into another scalar too, with the metadata beside them") {
  const Folder folder("model_file");
  const auto path = folder / "model.safetensors";
  Model<Cpu<float>> saved(1), same(100);
  Model<Cpu<double>> other(100);
  save_parameters(path, saved.list(), {{"epoch", "3"}});
  load_parameters(path, same.list());
  load_parameters(path, other.list());
  CHECK(same.a.value.to_host() == saved.a.value.to_host());
  CHECK(same.b.value.to_host() == saved.b.value.to_host());
  CHECK(other.b.value.to_host() == std::vector<double>{2.75, 3, 3.25, 3.5});
  CHECK(SafetensorsFile(path).metadata().at("epoch") == "3");
}

TEST_CASE("all that does not fit is in one error, and the model is as it was") {
  const Folder folder("model_file");
  const auto path = folder / "model.safetensors";
  SafetensorsWriter writer;
  writer.add("layer.a", Tensor<float, CpuDevice>::zeros({3, 2}));
  writer.add("layer.c", Tensor<float, CpuDevice>::zeros({1}));
  writer.add("layer.d", Tensor<float, CpuDevice>::zeros({1}));
  writer.write(path);
  Model<Cpu<float>> model(1);
  const auto before = model.a.value.to_host();
  CHECK(message_of<FileError>([&] { load_parameters(path, model.list()); }) ==
        "[load] '" + path.string() +
            "' does not fit: missing: layer.b; not expected: layer.c, layer.d; layer.a has shape (3, 2) in "
            "the file, "
            "expected (2, 3)");
  CHECK(model.a.value.to_host() == before);
}

TEST_CASE("weights of a type that is not one of numbers are refused") {
  const Folder folder("model_file");
  const auto path = folder / "model.safetensors";
  const std::string header = R"({"layer.a":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]},)"
                             R"("layer.b":{"dtype":"BF16","shape":[4],"data_offsets":[6,14]}})";
  const std::uint64_t length = header.size();
  write_plainly(path,
                std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(14, '\0'));
  Model<Cpu<float>> model(1);
  CHECK_THAT(message_of<FileError>([&] { load_parameters(path, model.list()); }),
             Catch::Matchers::EndsWith("does not fit: layer.a holds U8"));
}
