#include "retort/models/decoder.hpp"
#include <retort/io/json.hpp>
#include <CLI/CLI.hpp>
