// The subcommand `inspect`: prints what a model folder holds and what it would need.
#pragma once

#include <span>

namespace switchyard {

// Arguments without the program's and the subcommand's name. Returns the exit code.
int inspect_main(std::span<const char* const> arguments);

}  // namespace switchyard
