#include "retort/distill/gkd.hpp"
#include <CLI/CLI.hpp>
