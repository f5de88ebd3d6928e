// Multiprocessor: what threads wait at, and how they are let go on. Included by multiprocessor.hpp.
namespace retort::executor {

inline const char* name(Primitive primitive) {
  switch (primitive) {
    case Primitive::none:
      return "nothing";
    case Primitive::syncthreads:
      return "__syncthreads";
    case Primitive::syncwarp:
      return "__syncwarp";
    case Primitive::shfl:
      return "__shfl_sync";
    case Primitive::shfl_up:
      return "__shfl_up_sync";
    case Primitive::shfl_down:
      return "__shfl_down_sync";
    case Primitive::shfl_xor:
      return "__shfl_xor_sync";
    case Primitive::ballot:
      return "__ballot_sync";
    case Primitive::any:
      return "__any_sync";
    case Primitive::all:
      return "__all_sync";
  }
  return "";
}

inline std::string hexadecimal(unsigned mask) {
  std::string digits = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[mask >> shift & 15u];
  return digits;
}

inline void Multiprocessor::synchronize(Where where) {
  Thread& thread = *current_;
  if (abandoned_) throw Abandoned();
  thread.primitive = Primitive::syncthreads;
  thread.where = where;
  if (++at_barrier_ + ended_ == threads_.size()) release_block();
  wait(thread);
}

inline std::uint64_t Multiprocessor::exchange(Primitive primitive, unsigned mask, std::uint64_t value,
                                              unsigned source, Where where) {
  Thread& thread = *current_;
  if (abandoned_) throw Abandoned();
  thread.primitive = primitive;
  thread.where = where;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  Warp& warp = warps_[thread.warp];
  if (!(mask >> thread.lane & 1u)) fail(thread, "the mask does not name the calling lane");
  if (mask & ~warp.present) fail_mask(thread, mask & ~warp.present, ", which the block does not have");
  if (mask & warp.ended) fail_mask(thread, mask & warp.ended, ", which has ended");
  warp.waiting |= 1u << thread.lane;
  if ((warp.waiting & mask) == mask) release_warp(thread.warp, mask);
  wait(thread);
  return thread.value;
}

inline void Multiprocessor::check_together(const Thread& one, const Thread& other) const {
  if (one.primitive != other.primitive || one.where.line() != other.where.line() ||
      one.where.column() != other.where.column())
    fail_apart(one, other);
}

/// All that have not ended wait at the barrier.
inline void Multiprocessor::release_block() {
  const Thread* first = nullptr;
  for (const Thread& thread : threads_) {
    if (thread.ended) continue;
    if (!first) first = &thread;
    check_together(thread, *first);
  }
  push_in_some_order(Primitive::syncthreads);
  for (Thread& thread : threads_) thread.primitive = Primitive::none;
  at_barrier_ = 0;
}

/// The lanes of the mask wait, perhaps not all of them for each other.
inline void Multiprocessor::release_warp(unsigned number, unsigned mask) {
  const Thread& first = lane_of(number, static_cast<unsigned>(__builtin_ctz(mask)));
  unsigned voted = 0;
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<unsigned>(__builtin_ctz(lanes));
    const Thread& thread = lane_of(number, lane);
    if (thread.mask != mask) return;
    voted |= static_cast<unsigned>(thread.value != 0) << lane;
  }
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<unsigned>(__builtin_ctz(lanes));
    const Thread& thread = lane_of(number, lane);
    check_together(thread, first);
    const bool known = thread.source < warp_size && (mask >> thread.source & 1u);
    results_[lane] = known ? lane_of(number, thread.source).value : ~std::uint64_t{0};
  }
  const bool votes = first.primitive >= Primitive::ballot, at_once = random_.coin();
  const LaneOrder order(random_);
  for (unsigned i = 0; i < warp_size; ++i) {
    const unsigned lane = order(i);
    if (!(mask >> lane & 1u)) continue;
    Thread& thread = lane_of(number, lane);
    thread.value = votes ? voted : results_[lane];
    thread.primitive = Primitive::none;
    if (at_once)
      push_front(thread);
    else
      push_back(thread);
  }
  warps_[number].waiting &= ~mask;
}

/// Nothing can go on: who waits where.
inline KernelError Multiprocessor::deadlock() const {
  struct Group {
    const Thread* first;
    unsigned count;
  };
  std::vector<Group> groups;
  for (const Thread& thread : threads_) {
    if (thread.ended || thread.primitive == Primitive::none) continue;
    const auto same = [&](const Group& group) {
      return group.first->primitive == thread.primitive && group.first->where.line() == thread.where.line() &&
             (thread.primitive == Primitive::syncthreads || group.first->mask == thread.mask);
    };
    std::size_t i = 0;
    while (i < groups.size() && !same(groups[i])) ++i;
    if (i == groups.size()) groups.push_back({&thread, 0});
    ++groups[i].count;
  }
  std::string what = "deadlock: ";
  for (const Group& group : groups) {
    if (&group != &groups.front()) what += "; ";
    what += std::to_string(group.count) + " threads, the first " + text(group.first->index) + ", wait at " +
            name(group.first->primitive);
    if (group.first->primitive != Primitive::syncthreads)
      what += " with mask " + hexadecimal(group.first->mask);
    what += " (" + text(group.first->where) + ")";
  }
  what += "; " + std::to_string(ended_) + " threads have ended";
  return KernelError("block " + text(blockIdx) + ", thread " + text(groups.front().first->index) + ": " +
                     what);
}

inline void Multiprocessor::abandon_deadlock() {
  abandon(std::make_exception_ptr(deadlock()));
}

inline void Multiprocessor::fail(const Thread& thread, const char* what) const {
  std::string message = "block " + text(blockIdx) + ", thread " + text(thread.index) + ": ";
  if (thread.primitive != Primitive::none) {
    message += name(thread.primitive);
    if (thread.primitive != Primitive::syncthreads) message += " with mask " + hexadecimal(thread.mask);
    message += " (" + text(thread.where) + "): ";
  }
  throw KernelError(message + what);
}

inline void Multiprocessor::fail_mask(const Thread& thread, unsigned lanes, const char* what) const {
  fail(thread, ("the mask names lane " + std::to_string(__builtin_ctz(lanes)) + what).c_str());
}

inline void Multiprocessor::fail_apart(const Thread& one, const Thread& other) const {
  const std::string what = "thread " + text(other.index) + " waits elsewhere, at " + name(other.primitive) +
                           " (" + text(other.where) + ")";
  fail(one, what.c_str());
}

}  // namespace retort::executor
