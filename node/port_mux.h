// PortMux: one port for two protocols. Accepts connections, looks at their first bytes without
// taking them, and hands each over: HTTP/1 to one side, everything else to the other.
// Answers nothing itself, so that nothing holds up the next connection.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/clock.h"

namespace switchyard {

class Log;

// What the first bytes of a connection are.
enum class Greeting {
  kUndecided,  // an HTTP/1 request may come of it
  kHttp1,
  kOther,  // HTTP/2's preface, a TLS hello, anything else
};

// More bytes than this are never undecided.
inline constexpr size_t kGreetingBytes = 8;

Greeting greeting_of(std::string_view first_bytes);

class PortMux {
 public:
  // Called on the mux's thread, with descriptors that do not block and that they own from now on;
  // must not wait.
  struct Routes {
    std::function<void(int socket)> http1;
    std::function<void(int socket)> other;  // who says nothing, too
  };

  // Listens as gRPC does: 0.0.0.0 and [::] are both families, nobody shares the port, and what is
  // accepted inherits TCP_NODELAY and an end after `unacknowledged_limit` without the peer's
  // acknowledgement. Null: no address could be had. `log` must outlive it.
  static std::unique_ptr<PortMux> listen(const std::string& host_and_port,
                                         Duration unacknowledged_limit,
                                         Log& log);
  virtual ~PortMux() = default;  // stop()

  [[nodiscard]] virtual int port() const = 0;
  // Accepts from now on. Once.
  virtual void start(Routes routes) = 0;
  // Hands over everybody who has connected so far, then closes the listeners. Once.
  virtual void stop() = 0;

  // Silence, or less than a greeting, is not HTTP/1 after this long,
  static constexpr Duration kDecideLimit = std::chrono::seconds(1);
  // nor when so many have come since.
  static constexpr size_t kMostUndecided = 256;
};

}  // namespace switchyard
