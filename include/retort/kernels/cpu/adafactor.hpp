#pragma once

#include <algorithm>
#include <cmath>

#include "retort/core/parallel.hpp"
#include "retort/kernels/cpu/map.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort::kernels {

namespace cpu {

/// Adds the terms f(r), r in [0, rows), each made by one thread, in the order of r.
template <class F>
double ordered_sum(Index rows, Index grain, F f) {
  Buffer<CpuDevice> buffer(static_cast<std::size_t>(rows) * sizeof(double));
  auto* parts = static_cast<double*>(buffer.data());
  parallel_for(rows, grain, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) parts[r] = f(r);
  });
  double total = 0;
  for (Index r = 0; r < rows; ++r) total += parts[r];
  return total;
}

/// Moves the moving average `moment` towards `value`.
template <Real T>
void decay_towards(T& moment, double value, double beta) {
  moment = static_cast<T>(beta * static_cast<double>(moment) + (1 - beta) * value);
}

/// The means of g^2 + epsilon1 along both dimensions of one matrix (rows, columns), in one reading of it: 16
/// rows at a time, their column sums in T; these are added in double, by blocks of 64 rows whatever the
/// threads.
template <Real T>
void factor_moments(const AdafactorStep& s, Index rows, Index columns, const T* gradient, T* row_moment,
                    T* column_moment) {
  using P = Pack<T>;
  constexpr Index strip = 8 * P::size, group = 16, block = 64;
  const P scale(static_cast<T>(s.gradient_scale)), epsilon(static_cast<T>(s.epsilon1));
  const auto squared = [&](const T* from, Index count) {
    const P g = load(from, count) * scale;
    return fma(g, g, epsilon);
  };
  const Index blocks = (rows + block - 1) / block;
  const Buffer<CpuDevice> buffer(static_cast<std::size_t>(blocks * columns) * sizeof(double));
  auto* block_sums = static_cast<double*>(buffer.data());  // (blocks, columns)

  const auto add_columns = [&](Index first, Index last, double* sums) {
    for (Index c = 0; c < columns; c += strip) {
      const Index count = std::min(strip, columns - c);
      std::array<T, strip> part{};
      for (Index r = first; r < last; ++r)
        for_packs<T>(count, [&](Index i, Index n) {
          store(load(part.data() + i, n) + squared(gradient + r * columns + c + i, n), part.data() + i, n);
        });
      for (Index i = 0; i < count; ++i) sums[c + i] += static_cast<double>(part[static_cast<std::size_t>(i)]);
    }
  };
  parallel_for(blocks, std::max<Index>(1, 32768 / (block * columns)), [&](Index begin, Index end) {
    for (Index b = begin; b < end; ++b) {
      double* sums = block_sums + b * columns;
      std::fill_n(sums, columns, 0.0);
      const Index stop = std::min(rows, (b + 1) * block);
      for (Index first = b * block; first < stop; first += group) {
        const Index last = std::min(stop, first + group);
        for (Index r = first; r < last; ++r) {
          const T* row = gradient + r * columns;
          const double sum = row_sum<T>(columns, [&](Index i, Index n) { return squared(row + i, n); });
          decay_towards(row_moment[r], sum / static_cast<double>(columns), s.beta2);
        }
        add_columns(first, last, sums);
      }
    }
  });
  for (Index c = 0; c < columns; ++c) {
    double sum = 0;
    for (Index b = 0; b < blocks; ++b) sum += block_sums[b * columns + c];
    decay_towards(column_moment[c], sum / static_cast<double>(rows), s.beta2);
  }
}

/// The rest of a step, once the update u(r, i, count) = g / sqrt(second moment) of row r is known.
template <Real T, class U>
void adafactor_apply(const AdafactorStep& s, Index rows, Index columns, T* weight, T* first, U u) {
  using P = Pack<T>;
  const Index count = rows * columns, grain = std::max<Index>(1, 32768 / columns);
  const auto squared = [](auto x) { return x * x; };
  double rate = s.rate;
  if (s.scale_parameter)
    rate *=
        std::max(s.epsilon2, std::sqrt(sum_of(CpuDevice{}, static_cast<const T*>(weight), count, squared) /
                                       static_cast<double>(count)));
  const double square = ordered_sum(rows, grain, [&](Index r) {
    return row_sum<T>(columns, [&](Index i, Index c) { return squared(u(r, i, c)); });
  });
  const double rms = std::sqrt(square / static_cast<double>(count));
  const P step(static_cast<T>(rate / std::max(1.0, rms / s.clip_threshold)));
  const P keep(static_cast<T>(1 - rate * s.weight_decay));
  const P beta1(static_cast<T>(s.beta1)), rest1(static_cast<T>(1 - s.beta1));
  parallel_for(rows, grain, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      for_packs<T>(columns, [&](Index i, Index c) {
        const Index at = r * columns + i;
        P change = step * u(r, i, c);
        if (first != nullptr) {
          change = fma(beta1, load(first + at, c), rest1 * change);
          store(change, first + at, c);
        }
        store(load(weight + at, c) * keep - change, weight + at, c);
      });
  });
}

}  // namespace cpu

/// The step of `matrices` matrices (rows, columns), all of one parameter. The second moment is kept as its
/// row and column means: `row_moment` (matrices, rows), `column_moment` (matrices, columns). `first` may be
/// null.
template <Real T>
void adafactor_factored(CpuDevice, const AdafactorStep& s, Index matrices, Index rows, Index columns,
                        T* weight, const T* gradient, T* row_moment, T* column_moment, T* first) {
  using P = cpu::Pack<T>;
  const Index all_rows = matrices * rows, all_columns = matrices * columns;
  if (all_rows * columns == 0) return;
  // 1 / sqrt(second moment) = row_factor x column_factor, second moment = row column / mean of the rows.
  const Buffer<CpuDevice> buffer(static_cast<std::size_t>(all_rows + all_columns) * sizeof(T));
  T* row_factor = static_cast<T*>(buffer.data());
  T* column_factor = row_factor + all_rows;
  for (Index m = 0; m < matrices; ++m) {
    T* row = row_moment + m * rows;
    T* column = column_moment + m * columns;
    cpu::factor_moments(s, rows, columns, gradient + m * rows * columns, row, column);
    double mean = 0;
    for (Index r = 0; r < rows; ++r) mean += static_cast<double>(row[r]) / static_cast<double>(rows);
    for (Index r = 0; r < rows; ++r)
      row_factor[m * rows + r] =
          static_cast<T>(s.gradient_scale * std::sqrt(mean / static_cast<double>(row[r])));
    for (Index c = 0; c < columns; ++c)
      column_factor[m * columns + c] = static_cast<T>(1 / std::sqrt(static_cast<double>(column[c])));
  }
  cpu::adafactor_apply(s, all_rows, columns, weight, first, [=](Index r, Index i, Index count) {
    return cpu::load(gradient + r * columns + i, count) * P(row_factor[r]) *
           cpu::load(column_factor + r / rows * columns + i, count);
  });
}

/// The step of a parameter that is not a matrix: the second moment is kept whole. `first` may be null.
template <Real T>
void adafactor_whole(CpuDevice, const AdafactorStep& s, Index count, T* weight, const T* gradient, T* second,
                     T* first) {
  using P = cpu::Pack<T>;
  if (count == 0) return;
  const P scale(static_cast<T>(s.gradient_scale)), epsilon(static_cast<T>(s.epsilon1));
  const P beta2(static_cast<T>(s.beta2)), rest2(static_cast<T>(1 - s.beta2));
  cpu::for_packs<T>(count, [&](Index i, Index c) {
    const P g = cpu::load(gradient + i, c) * scale;
    cpu::store(fma(beta2, cpu::load(second + i, c), rest2 * fma(g, g, epsilon)), second + i, c);
  });
  cpu::adafactor_apply(s, 1, count, weight, first, [=](Index, Index i, Index c) {
    return cpu::load(gradient + i, c) * scale / sqrt(cpu::load(static_cast<const T*>(second) + i, c, T(1)));
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_ADAFACTOR_INSTANCES(PREFIX, T)                                                          \
  PREFIX template void adafactor_factored<T>(CpuDevice, const AdafactorStep&, Index, Index, Index, T*, \
                                             const T*, T*, T*, T*);                                    \
  PREFIX template void adafactor_whole<T>(CpuDevice, const AdafactorStep&, Index, T*, const T*, T*, T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_ADAFACTOR_INSTANCES(extern, float)
RETORT_ADAFACTOR_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
