// `switchyard models`: what a node serves, as a table, or one model with its defaults.
#pragma once

#include <string>

#include "client/cli/flags.h"
#include "client/cli/output.h"
#include "switchyard/v1/model.grpc.pb.h"

namespace switchyard {

struct ModelsFlags {
  NodeFlags node;
  std::string name;  // empty: all of them
  bool json = false;

  void add_to(CLI::App& command);
};

// Exit code: 0, or 1 when the node failed (the reason is in `output.messages`).
int models(const ModelsFlags& flags, v1::ModelService::Stub& stub, Output output);

int run_models(const ModelsFlags& flags);

}  // namespace switchyard
