#pragma once

/// Reading and writing tensors by name in the safetensors format: 8 bytes with the length of a JSON header,
/// the header `{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {...}}`,
/// and the elements, row-major and little-endian.
#include "retort/io/safetensors_file.hpp"
#include "retort/io/safetensors_writer.hpp"
