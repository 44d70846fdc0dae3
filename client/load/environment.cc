#include "client/load/environment.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string_view>
#include <thread>

namespace switchyard {
namespace {

std::string processor_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
  return static_cast<int>(std::thread::hardware_concurrency());
}

// As a shell would have to be given it.
std::string quoted(std::string_view argument) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+[]";
  if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(argument);
  }
  std::string out = "'";
  for (const char c : argument) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// A flag whose value may be somebody's secret, and the report is for others.
constexpr std::string_view kMetadata = "--metadata";
constexpr std::string_view kMetadataAndValue = "--metadata=";

// "KEY=VALUE" or "--metadata=KEY=VALUE" as far as its key.
std::string without_value(std::string_view argument) {
  const size_t key = argument.starts_with(kMetadataAndValue) ? kMetadataAndValue.size() : 0;
  const size_t equals = argument.find('=', key);
  if (equals == std::string_view::npos) return std::string(argument);
  return std::string(argument.substr(0, equals + 1)) + "...";
}

}  // namespace

Environment this_environment(int argc, const char* const* argv) {
  Environment environment;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) == 0) environment.host = host.data();
  utsname names{};
  if (uname(&names) == 0) {
    environment.system = std::string(names.sysname) + " " + names.release + " " + names.machine;
  }
  environment.processor = processor_model();
  environment.cores = usable_cores();
  bool is_metadata = false;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool has_value = is_metadata || argument.starts_with(kMetadataAndValue);
    const std::string shown = has_value ? without_value(argument) : std::string(argument);
    environment.command_line += (i > 0 ? " " : "") + quoted(shown);
    is_metadata = argument == kMetadata;
  }
  return environment;
}

}  // namespace switchyard
