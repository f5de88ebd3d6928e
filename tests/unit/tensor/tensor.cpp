#include "retort/tensor/tensor.hpp"

#include <type_traits>

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;
using test::message_of;

template <class T>
using CpuTensor = Tensor<T, CpuDevice>;

TEMPLATE_TEST_CASE("a tensor holds the values it was made from, in row-major order", "", float, double,
                   std::int32_t) {
  using T = TestType;
  const auto t = CpuTensor<T>::from({2, 3}, {T(1), T(2), T(3), T(4), T(5), T(6)});
  CHECK(t.shape() == Shape{2, 3});
  CHECK(t.rank() == 2);
  CHECK(t.size() == 6);
  CHECK(t.rows() == 2);
  CHECK(t.last() == 3);
  CHECK(t.to_host() == std::vector<T>{T(1), T(2), T(3), T(4), T(5), T(6)});
  CHECK(t.data()[4] == T(5));
  CHECK(CpuTensor<T>::zeros({3}).to_host() == std::vector<T>(3, T(0)));
  CHECK(CpuTensor<T>::full({2, 2}, T(7)).to_host() == std::vector<T>(4, T(7)));
  CHECK(CpuTensor<T>::full({}, T(7)).item() == T(7));
}

TEST_CASE("memory is aligned to 64 bytes") {
  for (const Index n : {1, 7, 1000, 100'000, 3'000'000}) {
    const CpuTensor<float> t({n});
    CHECK(reinterpret_cast<std::uintptr_t>(t.data()) % 64 == 0);
  }
}

TEST_CASE("an undefined tensor has no memory and no elements") {
  const CpuTensor<float> t;
  CHECK_FALSE(t);
  CHECK(t.size() == 0);
  CHECK(t.data() == nullptr);
  CHECK(t.to_host().empty());
  CHECK_FALSE(t.clone());
  CHECK(CpuTensor<float>({0, 3}));
  CHECK(CpuTensor<float>({0, 3}).size() == 0);
}

TEST_CASE("copies and views share the memory, a clone does not") {
  auto t = CpuTensor<float>::zeros({2, 3});
  auto copy = t;
  auto flat = t.reshape({6});
  auto row = t.slice(1, 2);
  const auto clone = t.clone();
  t.data()[3] = 5;
  CHECK(copy.data()[3] == 5);
  CHECK(flat.data()[3] == 5);
  CHECK(row.data()[0] == 5);
  CHECK(clone.data()[3] == 0);
  row.data()[1] = 6;
  CHECK(t.to_host() == std::vector<float>{0, 0, 0, 5, 6, 0});
}

TEST_CASE("unique says whether memory is shared with another tensor or view") {
  auto t = CpuTensor<float>::zeros({4});
  CHECK(t.unique());
  {
    const auto view = t.slice(0, 2);
    CHECK_FALSE(t.unique());
    CHECK_FALSE(view.unique());
  }
  CHECK(t.unique());
  auto moved = std::move(t);
  CHECK(moved.unique());
  CHECK_FALSE(CpuTensor<float>{}.unique());
}

TEST_CASE("a slice of a slice and a clone of a slice have the rows they name") {
  CpuTensor<std::int32_t> t({6, 2});
  for (int i = 0; i < 12; ++i) t.data()[i] = i;
  const auto inner = t.slice(1, 5).slice(2, 4);
  CHECK(inner.shape() == Shape{2, 2});
  CHECK(inner.to_host() == std::vector<std::int32_t>{6, 7, 8, 9});
  CHECK(inner.clone().to_host() == inner.to_host());
  CHECK(t.slice(6, 6).size() == 0);
  CHECK(t.slice(0, 6).to_host() == t.to_host());
  CHECK(CpuTensor<float>({0, 4}).slice(0, 0).size() == 0);
}

TEST_CASE("a view keeps the memory alive after its tensor is gone") {
  CpuTensor<float> view;
  {
    const auto t = CpuTensor<float>::full({100}, 3);
    view = t.slice(50, 60);
  }
  CHECK(view.to_host() == std::vector<float>(10, 3.f));
}

TEST_CASE("assigning a tensor to itself keeps it") {
  auto t = CpuTensor<float>::full({3}, 2);
  auto& same = t;
  t = same;
  CHECK(t.to_host() == std::vector<float>(3, 2.f));
  CHECK(t.unique());
}

TEST_CASE("impossible views and values are refused with their shapes") {
  const auto t = CpuTensor<float>::zeros({4, 3});
  CHECK(message_of<ShapeError>([&] {
          (void)t.reshape({5, 2});
        }) == "[reshape] (4, 3) has 12 elements, (5, 2) has 10");
  for (const auto& [begin, end] : {std::pair<Index, Index>{-1, 2}, {3, 2}, {2, 5}})
    CHECK_THROWS_AS((void)t.slice(begin, end), ShapeError);
  CHECK(message_of<ShapeError>([&] { (void)t.slice(2, 5); }) ==
        "[slice] [2, 5) of the first dimension of shape (4, 3)");
  CHECK_THROWS_AS((void)CpuTensor<float>::zeros({}).slice(0, 1), ShapeError);
  CHECK(message_of<ShapeError>([&] { (void)t.item(); }) ==
        "[item] tensor has shape (4, 3), expected one element");
  CHECK(message_of<ShapeError>([] {
          (void)CpuTensor<float>::from({2, 2}, {1, 2, 3});
        }) == "[tensor] 3 values given for shape (2, 2)");
  CHECK_THROWS_AS((void)CpuTensor<float>{}.item(), ShapeError);
}

TEST_CASE("moving a tensor leaves an undefined one and does not throw") {
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<CpuTensor<float>>);
  STATIC_REQUIRE(std::is_nothrow_move_assignable_v<CpuTensor<float>>);
  auto t = CpuTensor<float>::full({2}, 1);
  const auto u = std::move(t);
  CHECK_FALSE(t);  // NOLINT(bugprone-use-after-move): that is the question
  CHECK(t.size() == 0);
  CHECK(u.size() == 2);
}
