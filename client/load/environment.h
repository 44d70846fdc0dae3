// Environment: the machine and the command that a load came from, for a report that is read later
// and elsewhere.
#pragma once

#include <string>

namespace switchyard {

struct Environment {
  std::string host;
  std::string system;        // "Linux 6.1.0 x86_64"
  std::string processor;     // its model; empty where the system does not say
  int cores = 0;             // that this process may use
  std::string command_line;  // without the values of --metadata
};

Environment this_environment(int argc, const char* const* argv);

}  // namespace switchyard
