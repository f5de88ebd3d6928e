// A tensor on the CPU is none on a GPU: its numbers are copied, by from and to_host.
// expect: conversion from .*CpuDevice
#include "retort/tensor/tensor.hpp"

using namespace retort;

#ifdef RETORT_OK
using Other = CudaDevice;
#else
using Other = CpuDevice;
#endif

int main() {
  const Tensor<float, Other> x({2, 3});
  const Tensor<float, CudaDevice> y = x;
  return static_cast<int>(y.size());
}
