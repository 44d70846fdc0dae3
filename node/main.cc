// switchyard-node: chooses the subcommand. Each of them has a file of its own.
#include <array>
#include <cstdio>
#include <span>
#include <string_view>

#include "node/bench.h"
#include "node/inspect.h"
#include "node/serve.h"
#include "node/version.h"

namespace switchyard {
namespace {

struct Subcommand {
  std::string_view name;
  std::string_view summary;
  int (*run)(std::span<const char* const> arguments);
};

constexpr std::array kSubcommands = {
    Subcommand{"serve", "load a model and answer requests over gRPC", serve_main},
    Subcommand{"bench", "measure a model without the network", bench_main},
    Subcommand{"inspect", "show what a model folder holds and needs", inspect_main},
};

void print_usage(std::FILE* out) {
  std::fprintf(out, "usage: switchyard-node SUBCOMMAND [flags]\n\n");
  for (const Subcommand& subcommand : kSubcommands) {
    std::fprintf(out, "  %-9s %s\n", subcommand.name.data(), subcommand.summary.data());
  }
  std::fprintf(out, "\nSUBCOMMAND --help lists the flags; --version prints the version.\n");
}

int run(std::span<const char* const> arguments) {
  if (arguments.empty()) {
    print_usage(stderr);
    return 2;
  }
  const std::string_view name = arguments.front();
  if (name == "--help" || name == "-h") {
    print_usage(stdout);
    return 0;
  }
  if (name == "--version") {
    std::printf("switchyard-node %s\n", kVersion.data());
    return 0;
  }
  for (const Subcommand& subcommand : kSubcommands) {
    if (subcommand.name == name) return subcommand.run(arguments.subspan(1));
  }
  std::fprintf(stderr, "switchyard-node: no subcommand \"%s\"\n\n", arguments.front());
  print_usage(stderr);
  return 2;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  return switchyard::run(std::span<const char* const>(argv, static_cast<size_t>(argc)).subspan(1));
}
