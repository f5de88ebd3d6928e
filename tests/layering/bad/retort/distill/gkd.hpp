#include <CLI/CLI.hpp>
#include <retort/io/json.hpp>
#include "retort/models/decoder.hpp"
