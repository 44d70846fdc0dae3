// Counts the tokens of texts by asking the nodes, which have the tokenizer.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "client/load/targets.h"
#include "client/rpc/cancel_token.h"

namespace switchyard {

// Without what a tokenizer puts around a text. Several are asked at once; the calling thread waits,
// another may cancel.
absl::StatusOr<std::vector<int32_t>> count_tokens(Targets& targets,
                                                  const std::string& model,
                                                  const std::vector<std::string_view>& texts,
                                                  CancelToken& cancel);

}  // namespace switchyard
