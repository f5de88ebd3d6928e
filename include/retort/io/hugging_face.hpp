#pragma once

/// Models of Hugging Face folders: `HuggingFaceFolder("path").load<B>()` reads one, `save_hugging_face`
/// writes one. Families: GPT-2, OPT, GPT-J, LLaMA, T5, T5 v1.1 and FLAN-T5.
#include "retort/io/hugging_face/folder.hpp"
#include "retort/io/hugging_face/save.hpp"
