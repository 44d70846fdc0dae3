// The subcommand `serve`: loads a model, answers on the network, drains on SIGTERM.
#pragma once

#include <span>

namespace switchyard {

// Arguments without the program's and the subcommand's name. Returns the exit code: 0 after a
// drain, 1 when it could not serve, 2 for wrong arguments.
int serve_main(std::span<const char* const> arguments);

}  // namespace switchyard
