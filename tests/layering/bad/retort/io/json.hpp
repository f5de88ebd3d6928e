#include <pcre2.h>
#include <CLI/CLI.hpp>
#include "retort/distill/gkd.hpp"
