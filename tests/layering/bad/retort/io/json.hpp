#include "retort/distill/gkd.hpp"
#include <CLI/CLI.hpp>
#include <pcre2.h>
