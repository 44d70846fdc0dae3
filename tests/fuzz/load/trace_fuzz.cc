// A hostile trace: whatever is read becomes requests of the lengths that it says.
#include <cstdint>
#include <sstream>

#include "client/load/trace.h"
#include "kernels/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  auto lines = read_trace(in, 4, {.line_bytes = 4096, .lines = 50});
  if (!lines.ok()) {
    CHECK(!lines.status().message().empty());
    return 0;
  }
  const size_t count = lines->size();
  TraceSpec spec;
  spec.block_tokens = 4;
  spec.most_prompt_tokens = 100;
  TraceSource source(
      *std::move(lines),
      {.spec = spec, .kind = {}, .space = {.vocab_size = 9, .avoided = {2}}, .options = {}});
  size_t made = 0;
  int64_t last_ns = 0;
  while (const auto conversation = source.next()) {
    const PlannedRequest& planned = conversation->at(0);
    CHECK(planned.at_ns >= last_ns);
    CHECK(planned.request.token_ids().ids_size() >= 1);
    CHECK(planned.request.token_ids().ids_size() <= spec.most_prompt_tokens);
    for (const int32_t id : planned.request.token_ids().ids()) CHECK(id >= 0 && id < 9 && id != 2);
    last_ns = planned.at_ns;
    ++made;
  }
  CHECK(made == count);
  return 0;
}
