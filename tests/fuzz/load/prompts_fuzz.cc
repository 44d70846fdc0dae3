// A hostile file of prompts: whatever is read becomes conversations whose turns have prompts of one
// kind, and can be carried on.
#include <cstdint>
#include <sstream>

#include "client/load/history.h"
#include "client/load/prompt_file.h"
#include "kernels/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  std::vector<ClassSpec> classes(2);
  classes[1].name = "batch";
  auto file = read_prompts(in, classes, {.bytes = 4096, .count = 50});
  if (!file.ok()) {
    CHECK(!file.status().message().empty());
    return 0;
  }
  const auto count_tokens = [](const std::vector<std::string_view>& texts) {
    std::vector<int32_t> counts;
    for (const std::string_view text : texts) counts.push_back(static_cast<int32_t>(text.size()));
    return counts;
  };
  CHECK(count_recorded_answers(*file, file->size() / 2, count_tokens).ok());
  const size_t count = file->size();
  PromptSource source(*std::move(file), classes, {});
  for (size_t i = 0; i < count + 1; ++i) {  // one more: it begins again
    const auto conversation = source.next();
    CHECK(conversation && !conversation->empty());
    History history;
    for (const PlannedRequest& planned : *conversation) {
      const v1::GenerateRequest whole = history.with(planned.request);
      CHECK(whole.input_case() == conversation->at(0).request.input_case());
      CHECK(whole.input_case() != v1::GenerateRequest::INPUT_NOT_SET);
      history.add(planned.request, {});
    }
    CHECK(conversation->back().last_turn);
  }
  return 0;
}
