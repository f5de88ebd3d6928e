// Multiprocessor: the life of a thread, and who is next. Included by multiprocessor.hpp.
namespace retort::executor {

inline void Multiprocessor::jump(Fiber& from, Fiber& to) {
  ++statistics_.switches;
  left_ = &from;
  active_ = &to;
  leave(from, to);
  entered(from, *left_);
}

inline void Multiprocessor::enter() {
  Multiprocessor& self = *running;
  entered(*self.active_, *self.left_);
  self.work(static_cast<WorkFiber&>(*self.active_));
}

/// What a fiber does: run its thread, then one that has not started on the same stack, or leave for another
/// fiber until it is given a new thread.
inline void Multiprocessor::work(WorkFiber& self) {
  for (;;) {
    Thread& thread = *self.thread;
    current_ = &thread;
    threadIdx = thread.index;
    try {
      body_(call_);
      end(thread);
    } catch (const Abandoned&) {
      thread.ended = true;
    } catch (...) {
      thread.ended = true;
      abandon(std::current_exception());
    }
    if (queued_ == 0 && !abandoned_ && ended_ != threads_.size()) abandon_deadlock();
    if (queued_ == 0) {
      idle_.push_back(&self);
      jump(self, main_);
      continue;
    }
    Thread& next = pop();
    if (!next.fiber) {
      next.fiber = &self;
      self.thread = &next;
      continue;
    }
    idle_.push_back(&self);
    jump(self, *next.fiber);
  }
}

inline void Multiprocessor::end(Thread& thread) {
  thread.ended = true;
  ++ended_;
  Warp& warp = warps_[thread.warp];
  warp.ended |= 1u << thread.lane;
  for (unsigned waiting = warp.waiting; waiting != 0; waiting &= waiting - 1) {
    const Thread& other = lane_of(thread.warp, static_cast<unsigned>(__builtin_ctz(waiting)));
    if (other.mask >> thread.lane & 1u) fail_mask(other, 1u << thread.lane, ", which has ended");
  }
  if (at_barrier_ != 0 && at_barrier_ + ended_ == threads_.size()) release_block();
}

/// Lets others run until this thread is taken from the queue.
inline void Multiprocessor::wait(Thread& thread) {
  if (queued_ == 0) abandon_deadlock();
  Thread& next = pop();
  if (&next != &thread) {
    resume(next);
    jump(*thread.fiber, *next.fiber);
    current_ = &thread;
    threadIdx = thread.index;
  }
  if (abandoned_) throw Abandoned();
}

/// Gives a thread that has not started a fiber.
inline void Multiprocessor::resume(Thread& thread) {
  if (thread.fiber) return;
  if (idle_.empty()) add_fiber();
  thread.fiber = idle_.back();
  idle_.pop_back();
  thread.fiber->thread = &thread;
}

inline void Multiprocessor::add_fiber() {
  fibers_.push_back(std::make_unique<WorkFiber>());
  stacks_.prepare(*fibers_.back(), fibers_.size() - 1, &Multiprocessor::enter);
  idle_.reserve(fibers_.size());
  idle_.push_back(fibers_.back().get());
}

/// Keeps the error for run() to throw, and lets only those go on whose stacks have to be unwound.
inline void Multiprocessor::abandon(std::exception_ptr error) {
  failure_ = std::move(error);
  abandoned_ = true;
  queued_ = 0;
  for (const Thread& thread : threads_)
    if (thread.fiber && !thread.ended) push_back(thread);
}

/// Warp after warp or all mixed, in an order drawn anew, the threads that are waiting at this.
inline void Multiprocessor::push_in_some_order(Primitive waiting_at) {
  const auto waits = [&](const Thread& thread) { return !thread.ended && thread.primitive == waiting_at; };
  unsigned count = 0;
  if (random_.coin()) {
    for (const Thread& thread : threads_)
      if (waits(thread)) order_[count++] = static_cast<std::uint16_t>(&thread - threads_.data());
    random_.shuffle(order_.data(), count);
    for (unsigned i = 0; i < count; ++i) push_back(threads_[order_[i]]);
    return;
  }
  while (count * warp_size < threads_.size()) order_[count] = static_cast<std::uint16_t>(count), ++count;
  random_.shuffle(order_.data(), count);
  for (unsigned i = 0; i < count; ++i) {
    const unsigned warp = order_[i];
    const LaneOrder lanes(random_);
    for (unsigned j = 0; j < warp_size; ++j)
      if (warps_[warp].present >> lanes(j) & 1u)
        if (const Thread& thread = lane_of(warp, lanes(j)); waits(thread)) push_back(thread);
  }
}

inline void Multiprocessor::push_back(const Thread& thread) {
  queue_[(queue_head_ + queued_++) % most_threads] = static_cast<std::uint16_t>(&thread - threads_.data());
}

inline void Multiprocessor::push_front(const Thread& thread) {
  queue_head_ = (queue_head_ + most_threads - 1) % most_threads;
  ++queued_;
  queue_[queue_head_] = static_cast<std::uint16_t>(&thread - threads_.data());
}

inline Multiprocessor::Thread& Multiprocessor::pop() {
  Thread& thread = threads_[queue_[queue_head_]];
  queue_head_ = (queue_head_ + 1) % most_threads;
  --queued_;
  return thread;
}

}  // namespace retort::executor
