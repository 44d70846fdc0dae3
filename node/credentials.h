// Credentials: the certificate and the tokens out of their files, now and whenever these change.
// A file that is wrong at the start ends the start; later it is logged and what was good stays.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/result.h"
#include "node/metrics.h"
#include "node/tls_listener.h"

namespace switchyard {

struct Config;
class Gate;
class Log;

// A text file of at most 1 MiB. invalid_argument names `flag`, the file and what is wrong with it.
Result<std::string> read_small_file(std::string_view flag, const std::filesystem::path& path);

class Credentials {
 public:
  struct Surroundings {
    Gate& gate;
    Log& log;
    Metrics& metrics;
  };
  // Reads what `config` names and tells the gate. What `around` refers to must outlive it.
  static Result<std::unique_ptr<Credentials>> load(const Config& config, Surroundings around);
  ~Credentials();

  // Null without TLS. For one port.
  [[nodiscard]] std::shared_ptr<TlsListener> tls() const { return tls_; }

 private:
  // Files that belong together: read, compared and applied as one.
  struct Watched {
    ReloadedFile name;
    std::vector<std::pair<std::string_view, std::filesystem::path>> files;  // flag, path
    std::function<Status(std::vector<std::string> contents)> apply;
    // What was read last, whether or not it was good, or why it could not be.
    std::vector<std::string> contents;
    std::string error;
  };
  enum class Look { kUnchanged, kChanged };

  explicit Credentials(Surroundings around) : around_(around) {}

  // Reads again; applies what has changed.
  Result<Look> look(Watched& watched);
  Status apply_certificate(std::vector<std::string> contents);
  Status apply_tokens(const std::vector<std::string>& contents);
  void watch(Duration interval);
  void look_again(Watched& watched);

  const Surroundings around_;
  std::shared_ptr<TlsListener> tls_;
  std::vector<Watched> watched_;  // the watcher's alone once it runs

  std::mutex mutex_;
  std::condition_variable stop_watching_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread watcher_;    // only where there is something to watch
};

}  // namespace switchyard
