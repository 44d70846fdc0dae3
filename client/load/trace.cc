#include "client/load/trace.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/load/failure.h"
#include "client/load/json_fields.h"
#include "client/load/lines.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int64_t kMostMilliseconds = int64_t{366} * 86'400'000;
constexpr int32_t kMostTokens = 1 << 22;

absl::StatusOr<TraceLine> read_line(std::string_view text,
                                    int32_t block_tokens,
                                    size_t most_bytes) {
  const auto json = parse_json(text, {.bytes = most_bytes});
  if (!json.ok()) return json.status();
  TraceLine line;
  std::string problem;
  JsonFields fields(*json, "", problem);
  fields.integer("timestamp", line.timestamp_ms, 0, kMostMilliseconds);
  fields.integer("input_length", line.input_tokens, 1, kMostTokens);
  fields.integer("output_length", line.output_tokens, 1, kMostTokens);
  for (const char* name : {"timestamp", "input_length", "output_length"}) {
    if (!fields.has(name)) fields.complain(name, "is missing");
  }
  if (const auto* ids = fields.array("hash_ids", kMostTokens)) {
    const int64_t blocks = (int64_t{line.input_tokens} + block_tokens - 1) / block_tokens;
    if (static_cast<int64_t>(ids->size()) > blocks) {
      fields.complain("hash_ids", words("has ", ids->size(), " entries, but input_length is ",
                                        blocks, " blocks of ", block_tokens));
    }
    for (const nlohmann::json& id : *ids) {
      if (!id.is_number_integer() || id < 0 || id > INT64_MAX) {
        fields.complain("hash_ids", "must be whole numbers, none of them negative");
        break;
      }
      line.hash_ids.push_back(id.get<int64_t>());
    }
  }
  // Other fields are let through: traces of newer kinds say more than we use.
  if (!problem.empty()) return failure(problem);
  return line;
}

}  // namespace

absl::StatusOr<std::vector<TraceLine>> read_trace(std::istream& in,
                                                  int32_t block_tokens,
                                                  const TraceLimits& limits) {
  std::vector<TraceLine> lines;
  const absl::Status status =
      for_each_line(in, {limits.line_bytes, limits.lines}, [&](std::string_view text) {
        auto line = read_line(text, block_tokens, limits.line_bytes);
        if (!line.ok()) return line.status();
        lines.push_back(*std::move(line));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (lines.empty()) return failure("it holds no requests");
  std::stable_sort(lines.begin(), lines.end(), [](const TraceLine& a, const TraceLine& b) {
    return a.timestamp_ms < b.timestamp_ms;
  });
  return lines;
}

TraceSource::TraceSource(std::vector<TraceLine> lines, Setting setting)
    : lines_(std::move(lines)), setting_(std::move(setting)) {}

std::optional<Conversation> TraceSource::next() {
  if (next_ == lines_.size()) return std::nullopt;
  const auto number = static_cast<int64_t>(next_);
  const TraceLine& line = lines_[next_++];
  const TraceSpec& spec = setting_.spec;
  PlannedRequest planned =
      make_request(setting_.kind, {number, 0},
                   std::min(line.output_tokens, spec.most_answer_tokens), setting_.options);
  constexpr double kNsPerMs = 1e6;
  const int64_t since_first = line.timestamp_ms - lines_.front().timestamp_ms;
  planned.at_ns = std::llround(static_cast<double>(since_first) * kNsPerMs / spec.speed);

  v1::TokenIds& ids = *planned.request.mutable_token_ids();
  int64_t left = std::min(line.input_tokens, spec.most_prompt_tokens);
  for (const int64_t id : line.hash_ids) {
    const int64_t count = std::min<int64_t>(left, spec.block_tokens);
    Random block(setting_.options.seed, Draw::kTraceBlock, {static_cast<uint64_t>(id)});
    append_tokens(ids, count, setting_.space, block);
    left -= count;
  }
  Random own(setting_.options.seed, Draw::kPrompt, {static_cast<uint64_t>(number), 0});
  append_tokens(ids, left, setting_.space, own);
  return Conversation{std::move(planned)};
}

}  // namespace switchyard
