// A hostile specification: whatever is taken is printed and taken again as the same, and a load
// that it describes can begin.
#include <cstdint>
#include <string_view>

#include "client/load/json_fields.h"
#include "client/load/load_plan.h"
#include "kernels/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const auto json = parse_json({reinterpret_cast<const char*>(data), size}, {.bytes = 1 << 16});
  if (!json.ok()) return 0;
  (void)lay_over(*json, {{"arrival", {{"rate", 1}}}, {"class", {{"turns", "2"}}}});
  auto spec = parse_load_spec(*json);
  if (!spec.ok()) {
    CHECK(!spec.status().message().empty());
    return 0;
  }
  const nlohmann::json printed = to_json(*spec);
  const auto again = parse_load_spec(printed);
  CHECK(again.ok());
  CHECK(to_json(*again) == printed);

  // Files are not this target's to open, nor gigabytes of tokens its to make.
  if (!spec->trace.file.empty() || !spec->prompts_file.empty() || !spec->replay_file.empty()) {
    return 0;
  }
  for (const ClassSpec& kind : spec->classes) {
    const int64_t tokens = kind.prefix_tokens + kind.prompt_tokens.most() * kind.turns.most();
    if (tokens > 10'000) return 0;
  }
  if (spec->conversations_at_once > 100) return 0;
  auto plan = make_plan(*spec, {.vocab_size = 50, .avoided = {2}}, {});
  CHECK(plan.ok());
  if (std::holds_alternative<ClosedLoop>(plan->pace)) return 0;
  RequestStream stream(*plan, *spec);
  int64_t last_ns = 0;
  for (int i = 0; i < 20; ++i) {
    const auto planned = stream.next();
    if (!planned) break;
    CHECK(planned->at_ns >= last_ns);
    last_ns = planned->at_ns;
  }
  return 0;
}
