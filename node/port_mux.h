// PortMux: one port for two protocols. Accepts connections, looks at their first bytes without
// taking them, and hands each over: HTTP/1 to one side, everything else to the other.
// Answers nothing itself, so that nothing holds up the next connection.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "node/http_head.h"
#include "node/socket.h"

namespace switchyard {

class Log;

class PortMux {
 public:
  // Called on the mux's thread, with connections that do not block; must not wait.
  struct Routes {
    std::function<void(Socket)> http1;
    std::function<void(Socket)> other;  // who says nothing, too
  };
  // `log` must outlive it.
  PortMux(std::vector<Socket> listeners, Routes routes, Log& log);
  ~PortMux();  // stop()

  // Hands over everybody who has connected so far, then closes the listeners. Once.
  void stop();

  // Silence, or less than a greeting, is not HTTP/1 after this long,
  static constexpr Duration kDecideLimit = std::chrono::seconds(1);
  // nor when so many have come since.
  static constexpr size_t kMostUndecided = 256;

 private:
  struct Undecided {
    Socket socket;
    TimePoint deadline;
  };

  enum class Accepted { kAll, kSome, kCannot };  // kCannot: errno says why

  void run();
  Accepted accept_from(const Socket& listener);
  void pause();
  void resume();
  void arrived(Socket socket);
  void look_again(int number);
  void hand_over(Socket socket, Greeting greeting) const;
  void hand_over_oldest();

  std::vector<Socket> listeners_;
  const Routes routes_;
  Log& log_;
  Poller poller_;
  std::atomic<bool> stopping_{false};

  // The mux's thread's alone.
  std::vector<Undecided> undecided_;  // in the order of their arrival
  TimePoint resume_at_ = kNever;      // when accepting goes on; kNever: it does
  TimePoint warned_at_{};

  std::thread thread_;
};

}  // namespace switchyard
