# What retort takes from the machine it is compiled on: threads and a matrix product. Used by retort's own build
# and by its installed package, so that both choose alike.
#
#   RETORT_GEMM = retort   its own, the quickest for the shapes of transformers (docs/benchmarks.md)
#                 OpenBLAS OpenBLAS, or the configuration stops
#                 Eigen    Eigen's

# Finds OpenBLAS' library and cblas.h; sets RETORT_OPENBLAS_LIBRARY and RETORT_OPENBLAS_INCLUDE_DIR in the cache.
# Debian keeps its variants in folders of their own. The one that runs on OpenMP comes first: it shares retort's
# threads, the pthread variant would start as many again beside them.
function(retort_find_openblas)
  set(variants openblas-openmp openblas-pthread openblas openblas-serial)
  find_library(RETORT_OPENBLAS_LIBRARY NAMES openblas PATH_SUFFIXES ${variants} DOC "OpenBLAS' library")
  find_path(RETORT_OPENBLAS_INCLUDE_DIR NAMES cblas.h PATH_SUFFIXES ${variants} DOC "The folder of OpenBLAS' cblas.h")
  mark_as_advanced(RETORT_OPENBLAS_LIBRARY RETORT_OPENBLAS_INCLUDE_DIR)
endfunction()

# Sets in the caller's scope: RETORT_BACKEND_LIBRARIES, RETORT_BACKEND_INCLUDE_DIRS, RETORT_BACKEND_DEFINITIONS,
# and RETORT_BACKEND_SUMMARY, one honest line about what was chosen.
function(retort_choose_backends)
  set(libraries)
  set(include_dirs)
  set(definitions)

  if(NOT RETORT_GEMM MATCHES "^(retort|OpenBLAS|Eigen)$")
    message(FATAL_ERROR "retort: RETORT_GEMM is '${RETORT_GEMM}', expected one of retort, OpenBLAS, Eigen")
  endif()
  set(gemm "${RETORT_GEMM}")
  if(RETORT_GEMM STREQUAL "Eigen")
    list(APPEND definitions RETORT_GEMM_EIGEN=1)
  elseif(RETORT_GEMM STREQUAL "OpenBLAS")
    retort_find_openblas()
    if(RETORT_OPENBLAS_LIBRARY AND RETORT_OPENBLAS_INCLUDE_DIR)
      set(gemm "OpenBLAS (${RETORT_OPENBLAS_LIBRARY})")
      list(APPEND libraries "${RETORT_OPENBLAS_LIBRARY}")
      list(APPEND include_dirs "${RETORT_OPENBLAS_INCLUDE_DIR}")
      list(APPEND definitions RETORT_GEMM_CBLAS=1)
    else()
      message(FATAL_ERROR "retort: RETORT_GEMM=OpenBLAS, but OpenBLAS was not found (library: "
        "${RETORT_OPENBLAS_LIBRARY}, cblas.h: ${RETORT_OPENBLAS_INCLUDE_DIR}); on Debian: apt-get install "
        "libopenblas-openmp-dev, elsewhere set RETORT_OPENBLAS_LIBRARY and RETORT_OPENBLAS_INCLUDE_DIR")
    endif()
  endif()

  find_package(OpenMP QUIET COMPONENTS CXX)
  if(TARGET OpenMP::OpenMP_CXX)
    set(threads "OpenMP ${OpenMP_CXX_VERSION}")
    list(APPEND libraries OpenMP::OpenMP_CXX)
  else()
    set(threads "one (no OpenMP found)")
  endif()

  set(RETORT_BACKEND_LIBRARIES ${libraries} PARENT_SCOPE)
  set(RETORT_BACKEND_INCLUDE_DIRS ${include_dirs} PARENT_SCOPE)
  set(RETORT_BACKEND_DEFINITIONS ${definitions} PARENT_SCOPE)
  set(RETORT_BACKEND_SUMMARY "matrix product: ${gemm}; threads: ${threads}" PARENT_SCOPE)
endfunction()
