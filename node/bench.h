// The subcommand `bench`: measures the engine without the network.
#pragma once

#include <span>

namespace switchyard {

// Arguments without the program's and the subcommand's name. Returns the exit code.
int bench_main(std::span<const char* const> arguments);

}  // namespace switchyard
