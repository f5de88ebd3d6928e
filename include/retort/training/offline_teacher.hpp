#pragma once

#include <filesystem>
#include <functional>
#include <utility>

#include "retort/distill/sparse_teacher.hpp"
#include "retort/generate/generate.hpp"
#include "retort/io/teacher_file_writer.hpp"

/// Teacher files from models: what a teacher says about a data set, or about its own samples, written once.
namespace retort {

/// How a teacher file is made. `info.vocabulary` 0 means the teacher's.
struct OfflineTeacherOptions {
  TeacherFileInfo info = {};
  int batch_size = 16;                     ///< examples in memory at once; changes nothing beyond rounding
  std::function<void(int)> progress = {};  ///< told the number of examples that were done
};

namespace detail {

/// Writes the file of `data` with the responses that `respond(part of data)` returns.
template <LanguageModel Teacher, class Respond>
void write_teacher_file(const std::filesystem::path& path, const Teacher& teacher, const Batch& data,
                        const OfflineTeacherOptions& options, Respond respond) {
  if (options.batch_size < 1)
    fail<ValueError>("teacher_file", "batch size {}, expected at least 1", options.batch_size);
  data.check();
  TeacherFileInfo info = options.info;
  if (info.vocabulary == 0) info.vocabulary = teacher.vocabulary();
  TeacherFileWriter writer(path, info);
  for (int first = 0; first < data.size(); first += options.batch_size) {
    const int last = std::min(data.size(), first + options.batch_size);
    const Batch batch = respond(data.slice(first, last));
    writer.add(batch, sparse_targets(teacher, batch, info.k,
                                     {.temperature = info.temperature, .vocabulary = info.vocabulary}));
    if (options.progress) options.progress(last - first);
  }
  writer.finish();
}

}  // namespace detail

/// Writes what `teacher` says about the responses of `data`. Throws ValueError and NumericError as
/// `sparse_targets` and TeacherFileWriter do, FileError if the file cannot be written: one that was there is
/// then unharmed.
template <LanguageModel Teacher>
void write_teacher_file(const std::filesystem::path& path, const Teacher& teacher, const Batch& data,
                        const OfflineTeacherOptions& options = {}) {
  detail::write_teacher_file(path, teacher, data, options, [](Batch batch) { return batch; });
}

/// The same of responses that the teacher samples for the prompts of `data`, whose own are not looked at. The
/// file holds them: `TeacherFile::data` is the data set to train on.
template <LanguageModel Teacher, Sampler S>
void write_teacher_file(const std::filesystem::path& path, const Teacher& teacher, const Batch& data,
                        const S& sampler, const GenerateOptions& sampling,
                        const OfflineTeacherOptions& options = {}) {
  detail::write_teacher_file(path, teacher, data, options, [&](Batch batch) {
    batch.responses = generate(teacher, batch.prompts, batch.ids, sampler, sampling).responses;
    return batch;
  });
}

}  // namespace retort
