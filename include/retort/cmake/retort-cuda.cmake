# The CUDA device: the library retort_cuda, made of the .cu and .cpp files beside the headers. Used by retort's own
# build and by its installed package.

# Sets RETORT_NVCC, where it is not set yet: the compiler chosen already, or nvcc of PATH or its usual folder.
macro(retort_find_nvcc)
  if(CMAKE_CUDA_COMPILER)
    set(RETORT_NVCC ${CMAKE_CUDA_COMPILER})
  else()
    find_program(RETORT_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  endif()
endmacro()

# Finds nvcc, cuBLASLt and the CUDA runtime, or stops: a device that was asked for is never left out silently. A macro,
# since enabling a language belongs to the caller's directory.
macro(retort_enable_cuda)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # Ampere and Hopper, and PTX of Hopper for what comes after
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    retort_find_nvcc()
    if(NOT RETORT_NVCC)
      message(FATAL_ERROR "retort: the CUDA device needs nvcc 12.4 or later, and there is none in PATH or "
        "/usr/local/cuda/bin; install the CUDA toolkit, or set CMAKE_CUDA_COMPILER")
    endif()
    set(CMAKE_CUDA_COMPILER ${RETORT_NVCC})
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
    message(FATAL_ERROR "retort: the CUDA device needs nvcc 12.4 or later for its C++20, found "
      "${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER})")
  endif()
  find_package(CUDAToolkit REQUIRED)
  if(NOT TARGET CUDA::cublasLt)
    message(FATAL_ERROR "retort: the CUDA device needs cuBLASLt, which the CUDA toolkit in ${CUDAToolkit_LIBRARY_ROOT} has not")
  endif()
endmacro()

# How retort's device code is compiled. The standard as an option: CMake 3.25 does not know that nvcc 13 has C++20.
function(retort_cuda_options target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 --expt-relaxed-constexpr>)
endfunction()

# Makes the target retort_cuda, alias retort::cuda, of the sources below `root`, the folder that has retort/retort.hpp.
function(retort_add_cuda_library root)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${root}/retort/*.cu ${root}/retort/kernels/cuda/*.cpp)
  add_library(retort_cuda STATIC ${sources})
  add_library(retort::cuda ALIAS retort_cuda)
  target_link_libraries(retort_cuda PUBLIC retort::retort CUDA::cublasLt CUDA::cudart)
  target_compile_definitions(retort_cuda INTERFACE RETORT_HAS_CUDA=1)
  retort_cuda_options(retort_cuda)
endfunction()

# retort_add_cuda_policies(TARGET FILE.cu...): compiles policies of a user's own (retort/kernels/cuda/policies.cuh) for
# the program TARGET, which gets retort::cuda with them.
function(retort_add_cuda_policies target)
  add_library(${target}_policies OBJECT ${ARGN})
  target_link_libraries(${target}_policies PRIVATE retort::cuda)
  retort_cuda_options(${target}_policies)
  target_link_libraries(${target} PRIVATE retort::cuda ${target}_policies)
endfunction()
