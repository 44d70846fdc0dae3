#include "client/cli/interrupt.h"

#include <csignal>
#include <utility>

namespace switchyard {
namespace {

sigset_t only_interrupt() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Interrupts::Interrupts(std::function<void()> on_interrupt)
    : on_interrupt_(std::move(on_interrupt)) {
  const sigset_t set = only_interrupt();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this, set] {
    for (int signal = 0; sigwait(&set, &signal) == 0 && !stopping_;) on_interrupt_();
  });
}

Interrupts::~Interrupts() {
  stopping_ = true;
  pthread_kill(thread_.native_handle(), SIGINT);  // wakes sigwait
  thread_.join();
  const sigset_t set = only_interrupt();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace switchyard
