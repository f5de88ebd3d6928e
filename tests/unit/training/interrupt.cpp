#include "retort/training/interrupt.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include "catch.hpp"

using retort::InterruptGuard;

namespace {

volatile std::sig_atomic_t seen = 0;
void count(int) {
  seen = seen + 1;
}

/// How a child process that runs `body` ends: its exit status, or minus the signal that ended it.
template <class F>
int end_of_child(F body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("a signal asks for a stop instead of ending the process, and handlers come back") {
  for (const int signal : {SIGINT, SIGTERM}) {
    seen = 0;
    const auto before = std::signal(signal, &count);
    {
      const InterruptGuard guard;
      CHECK_FALSE(InterruptGuard::stop_requested());
      std::raise(signal);
      CHECK(InterruptGuard::stop_requested());
      CHECK(seen == 0);
    }
    std::raise(signal);
    CHECK(seen == 1);
    std::signal(signal, before);
  }
}

TEST_CASE("a new guard forgets the request before it") {
  {
    const InterruptGuard guard;
    std::raise(SIGINT);
    CHECK(InterruptGuard::stop_requested());
  }
  const InterruptGuard guard;
  CHECK_FALSE(InterruptGuard::stop_requested());
}

TEST_CASE("guards nest: a request outlives the inner ones, and the outermost gives the handlers back") {
  seen = 0;
  const auto before = std::signal(SIGTERM, &count);
  {
    const InterruptGuard outer;
    {
      const InterruptGuard inner;
      std::raise(SIGTERM);
      CHECK(InterruptGuard::stop_requested());
    }
    const InterruptGuard next;
    CHECK(InterruptGuard::stop_requested());
    CHECK(seen == 0);
  }
  std::raise(SIGTERM);
  CHECK(seen == 1);
  std::signal(SIGTERM, before);
}

TEST_CASE("a second signal ends the process at once") {
  const auto twice = [](int first, int second) {
    return end_of_child([=] {
      std::signal(second, SIG_DFL);
      const InterruptGuard guard;
      std::raise(first);
      if (!InterruptGuard::stop_requested()) _exit(3);
      std::raise(second);
    });
  };
  CHECK(twice(SIGINT, SIGINT) == -SIGINT);
  CHECK(twice(SIGINT, SIGTERM) == -SIGTERM);
  CHECK(end_of_child([] {
          const InterruptGuard guard;
          std::raise(SIGTERM);
        }) == 0);
}
