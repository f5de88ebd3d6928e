#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

/// Work of many small kernels that comes again and again, as a step of decoding does, costs a GPU's host more
/// than the kernels take. `as_graph` records the calls of such work and has the device do them as one CUDA
/// graph.
namespace retort::cuda {

/// Calls in the order they were made: kernels, products and copies with all their arguments.
class Recording {
 public:
  /// Call: what `operator()` does depends on its bytes alone.
  template <class Call>
  void add(const Call& call) {
    static_assert(std::is_trivially_copyable_v<Call> && alignof(Call) <= grain);
    constexpr std::size_t head = (sizeof(Head) + grain - 1) / grain * grain;
    constexpr std::size_t size = head + (sizeof(Call) + grain - 1) / grain * grain;
    const std::size_t at = bytes_.size();
    bytes_.resize(at + size);  // zeros, between the arguments too
    const Head h{[](const std::byte* p) { (*std::launder(reinterpret_cast<const Call*>(p + head)))(); },
                 size};
    std::memcpy(bytes_.data() + at, &h, sizeof(h));
    std::memcpy(bytes_.data() + at + head, &call, sizeof(call));
  }
  /// Makes all calls.
  void issue() const {
    for (std::size_t at = 0; at < bytes_.size();) {
      Head h{};
      std::memcpy(&h, bytes_.data() + at, sizeof(h));
      h.issue(bytes_.data() + at);
      at += h.size;
    }
  }
  void clear() { bytes_.clear(); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  /// Whether both would do the same.
  friend bool operator==(const Recording&, const Recording&) = default;

 private:
  static constexpr std::size_t grain = 16;
  struct Head {
    void (*issue)(const std::byte*);
    std::size_t size;
  };
  std::vector<std::byte> bytes_;
};

/// The recording under way, or nullptr.
[[nodiscard]] Recording* recording();

/// Makes a call now, or keeps it for the recording under way.
template <class Call>
void submit(const Call& call) {
  if (Recording* const r = recording())
    r->add(call);
  else
    call();
}

void begin_recording();
void drop_recording() noexcept;
/// Has the device do what was recorded, as one graph if the very same calls were recorded before.
void issue_recording();

/// Copies to the device as part of the recording under way; `from` may be changed as soon as this returns.
void upload_recorded(const void* from, void* to, std::size_t bytes);
/// Copies from the device to the device, now or with the recording under way.
void copy_on_device(const void* from, void* to, std::size_t bytes);

/// Destroys all graphs, once the stream has been waited for. A graph's copies know the driver's blocks that
/// they go to, not addresses alone: when the pool gives its blocks back to the driver, no graph may be left
/// that names them.
void forget_graphs();

/// How many recordings there were, and how many of them were done as a graph.
struct GraphStatistics {
  std::size_t recordings = 0, graphs = 0;
};
[[nodiscard]] GraphStatistics graph_statistics();

/// Whether `as_graph` makes graphs, as it does unless told otherwise; without them it just calls f.
void use_graphs(bool yes);
[[nodiscard]] bool graphs_are_used();

/// Calls f, and after it has returned has the device do what f gave it. f must not wait for the device nor
/// copy numbers from it (DeviceError: nothing is done yet), and uploads less than a megabyte. What f throws
/// passes through, and nothing is done then.
template <class F>
void as_graph(F f) {
  if (!graphs_are_used()) return static_cast<void>(f());
  begin_recording();
  try {
    f();
  } catch (...) {
    drop_recording();
    throw;
  }
  issue_recording();
}

}  // namespace retort::cuda
