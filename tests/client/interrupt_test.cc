// Ctrl-C becomes a call. A program of its own: gRPC's threads, which other tests leave running,
// would take the signal instead (see Interrupts' constructor).
#include "client/cli/interrupt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <future>

namespace switchyard {
namespace {

TEST(Interrupts, TurnACtrlCIntoACallAndLeaveTheProcessAlive) {
  std::promise<void> called;
  {
    const Interrupts interrupts([&] { called.set_value(); });
    kill(getpid(), SIGINT);
    EXPECT_EQ(called.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
  }
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  EXPECT_EQ(sigismember(&blocked, SIGINT), 0);
}

}  // namespace
}  // namespace switchyard
