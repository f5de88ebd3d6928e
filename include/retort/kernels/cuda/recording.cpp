// Recordings of calls, and the graphs that are made of them. Compiled by the host's compiler.
#include "retort/kernels/cuda/recording.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/kernels/cuda/runtime.hpp"

namespace retort::cuda {

namespace {

/// A copy that can be kept.
struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
  std::size_t kind;  // a cudaMemcpyKind

  void operator()() const {
    check(cudaMemcpyAsync(to, from, bytes, static_cast<cudaMemcpyKind>(kind),
                          static_cast<cudaStream_t>(stream())),
          "copy");
  }
};

/// Recordings that came lately, and their graphs. A recording is done call by call the first time; when it
/// comes again it is worth a graph.
class Graphs {
 public:
  GraphStatistics statistics;

  void run(const Recording& recording, cudaStream_t stream) {
    ++statistics.recordings;
    for (auto& known : known_) {
      if (!(known.recording == recording)) continue;
      known.used = ++now_;
      if (known.graph == nullptr) known.graph = make(recording, stream);
      ++statistics.graphs;
      return check(cudaGraphLaunch(known.graph, stream), "launch of a graph");
    }
    recording.issue();
    auto* place = &known_.emplace_back();
    if (known_.size() > most) {
      known_.pop_back();
      place = &*std::ranges::min_element(known_, {}, &Known::used);
      if (place->graph != nullptr) {
        check(cudaStreamSynchronize(stream), "wait for a graph");
        cudaGraphExecDestroy(place->graph);
      }
    }
    *place = {recording, nullptr, ++now_};
  }

  /// The stream must have been waited for.
  void forget() {
    for (auto& known : known_)
      if (known.graph != nullptr) cudaGraphExecDestroy(known.graph);
    known_.clear();
  }

 private:
  static constexpr std::size_t most = 16;
  struct Known {
    Recording recording;
    cudaGraphExec_t graph = nullptr;
    std::uint64_t used = 0;
  };
  std::vector<Known> known_;
  std::uint64_t now_ = 0;

  static cudaGraphExec_t make(const Recording& recording, cudaStream_t stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capture");
    cudaGraph_t graph = nullptr;
    try {
      recording.issue();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "capture");
    cudaGraphExec_t executable = nullptr;
    const auto error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "capture");
    return executable;
  }
};

/// Once a process, as the device and its stream.
struct Recorder {
  Recording recorded;
  static constexpr std::size_t upload_bytes = std::size_t{1} << 20;
  char* uploads = nullptr;   // pinned: where a recording's copies to the device start
  std::size_t uploaded = 0;  // of it, so far
  cudaEvent_t done = nullptr;

  Recorder() {
    check(cudaHostAlloc(reinterpret_cast<void**>(&uploads), upload_bytes, cudaHostAllocDefault),
          "allocate pinned memory");
    check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "create event");
  }
  static Recorder& instance() {
    static Recorder* recorder = new Recorder;
    return *recorder;
  }
};

bool graphs_wanted = true;
bool is_recording = false;  // not the Recorder's: most programs never record, and need no pinned memory

Graphs& graphs() {
  static Graphs* made = new Graphs;
  return *made;
}

}  // namespace

Recording* recording() {
  return is_recording ? &Recorder::instance().recorded : nullptr;
}

void begin_recording() {
  auto& recorder = Recorder::instance();
  if (is_recording) fail<DeviceError>("record", "a recording is under way already");
  recorder.recorded.clear();
  recorder.uploaded = 0;
  check(cudaEventSynchronize(recorder.done), "wait for a graph");  // its uploads have left their places
  is_recording = true;
}

void drop_recording() noexcept {
  is_recording = false;
}

void issue_recording() {
  auto& recorder = Recorder::instance();
  is_recording = false;
  if (recorder.recorded.empty()) return;
  const auto on = static_cast<cudaStream_t>(stream());
  graphs().run(recorder.recorded, on);
  check(cudaEventRecord(recorder.done, on), "record event");
}

void upload_recorded(const void* from, void* to, std::size_t bytes) {
  auto& recorder = Recorder::instance();
  if (recorder.uploaded + bytes > Recorder::upload_bytes)
    fail<DeviceError>("record", "more than {} bytes are copied to the device in one recording",
                      Recorder::upload_bytes);
  char* const place = recorder.uploads + recorder.uploaded;
  recorder.uploaded += (bytes + 63) / 64 * 64;
  std::memcpy(place, from, bytes);
  recorder.recorded.add(Copy{to, place, bytes, cudaMemcpyHostToDevice});
}

void copy_on_device(const void* from, void* to, std::size_t bytes) {
  submit(Copy{to, from, bytes, cudaMemcpyDeviceToDevice});
}

void forget_graphs() {
  graphs().forget();
}

void use_graphs(bool yes) {
  graphs_wanted = yes;
}
bool graphs_are_used() {
  return graphs_wanted;
}

GraphStatistics graph_statistics() {
  return graphs().statistics;
}

}  // namespace retort::cuda
