#include "client/load/workload_file.h"

#include <google/protobuf/util/json_util.h>

#include <array>
#include <map>
#include <utility>

#include "client/load/failure.h"
#include "client/load/json_fields.h"
#include "client/load/lines.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int64_t kMostNs = int64_t{366} * 86'400 * 1'000'000'000;
constexpr std::array<std::string_view, 5> kFaults = {"none", "cancel", "deadline", "slow_reader",
                                                     "malformed"};

std::string request_json(const v1::GenerateRequest& request) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(request, &json, options);
  return json;
}

void read_fault(const nlohmann::json& json, std::string& problem, PlannedFault& fault) {
  JsonFields fields(json, "fault", problem);
  std::string kind = "none";
  fields.text("kind", kind, 32);
  size_t index = 0;
  while (index < kFaults.size() && kFaults[index] != kind) ++index;
  if (index == kFaults.size()) {
    fields.complain("kind", "must be none, cancel, deadline, slow_reader or malformed");
  } else {
    fault.kind = static_cast<LoadFault>(index);
  }
  fields.integer("wait_ns", fault.wait_ns, 0, kMostNs);
  fields.integer("after_tokens", fault.after_tokens, 0, 1 << 22);
  std::string garbling = "none";
  fields.text("garbling", garbling, 32);
  if (const auto known = garbling_of(garbling)) {
    fault.garbling = *known;
  } else {
    fields.complain("garbling", "must be none, not_utf8, cut_short, bad_tag or open_group");
  }
  if (fault.garbling != Garbling::kNone && fault.kind != LoadFault::kMalformed) {
    fields.complain("garbling", "is for kind malformed");
  }
  fields.refuse_others();
}

absl::StatusOr<PlannedRequest> read_request(const nlohmann::json& json) {
  PlannedRequest planned;
  std::string problem;
  JsonFields fields(json, "", problem);
  fields.integer("at_ns", planned.at_ns, 0, kMostNs);
  fields.text("class", planned.class_name, 64);
  if (planned.class_name.empty()) fields.complain("class", "is missing");
  fields.integer("conversation", planned.conversation, 0, INT64_MAX);
  fields.integer("turn", planned.turn, 0, INT32_MAX);
  fields.flag("last_turn", planned.last_turn);
  fields.integer("think_ns", planned.think_ns, 0, kMostNs);
  fields.integer("answer_tokens", planned.answer_tokens, -1, 1 << 22);
  if (const auto* fault = fields.object("fault")) read_fault(*fault, problem, planned.fault);
  if (const auto* request = fields.object("request")) {
    const auto status =
        google::protobuf::util::JsonStringToMessage(request->dump(), &planned.request);
    if (!status.ok()) {
      fields.complain("request", words("is no GenerateRequest of generation.proto: ",
                                       std::string(status.message()).substr(0, 200)));
    } else if (planned.request.input_case() == v1::GenerateRequest::INPUT_NOT_SET) {
      fields.complain("request", "has no prompt");
    }
  } else {
    fields.complain("request", "is missing");
  }
  fields.refuse_others();
  if (!problem.empty()) return failure(problem);
  return planned;
}

absl::Status read_header(const nlohmann::json& json, SavedWorkload& workload) {
  std::string problem;
  JsonFields fields(json, "", problem);
  int32_t version = 0;
  int64_t seed = 0;
  fields.integer("switchyard_workload", version, 1, 1);
  if (!fields.has("switchyard_workload")) {
    fields.complain("switchyard_workload", "is missing: this is no saved workload");
  }
  fields.integer("seed", seed, 0, INT64_MAX);
  fields.refuse_others();
  workload.seed = static_cast<uint64_t>(seed);
  return problem.empty() ? absl::OkStatus() : failure(problem);
}

// Follows the conversations of a file and refuses turns that are out of order.
class TurnOrder {
 public:
  absl::Status take(const PlannedRequest& planned) {
    const auto [open, is_new] = next_.try_emplace(planned.conversation, Next{0, {}});
    if (is_new) open->second.input = planned.request.input_case();
    if (planned.turn != open->second.turn) {
      return failure("turn: is ", planned.turn, ", its conversation is at ", open->second.turn);
    }
    if (planned.request.input_case() != open->second.input) {
      return failure("request: the turns of a conversation must have prompts of one kind");
    }
    // A conversation that is over stays known: its number must not come again.
    open->second.turn = planned.last_turn ? -1 : planned.turn + 1;
    return absl::OkStatus();
  }

 private:
  struct Next {
    int32_t turn = 0;
    v1::GenerateRequest::InputCase input = v1::GenerateRequest::INPUT_NOT_SET;
  };
  std::map<int64_t, Next> next_;
};

}  // namespace

WorkloadWriter::WorkloadWriter(std::ostream& out, uint64_t seed) : out_(out) {
  out_ << R"({"switchyard_workload":1,"seed":)" << seed << "}\n";
}

void WorkloadWriter::add(const PlannedRequest& planned) {
  // An ordered document: the same workload is the same bytes.
  nlohmann::ordered_json line;
  if (planned.at_ns >= 0) line["at_ns"] = planned.at_ns;
  line["class"] = planned.class_name;
  line["conversation"] = planned.conversation;
  line["turn"] = planned.turn;
  line["last_turn"] = planned.last_turn;
  line["think_ns"] = planned.think_ns;
  line["answer_tokens"] = planned.answer_tokens;
  if (planned.fault.kind != LoadFault::kNone) {
    line["fault"] = {{"kind", kFaults[static_cast<size_t>(planned.fault.kind)]},
                     {"wait_ns", planned.fault.wait_ns},
                     {"after_tokens", planned.fault.after_tokens}};
    if (planned.fault.garbling != Garbling::kNone) {
      line["fault"]["garbling"] = garbling_name(planned.fault.garbling);
    }
  }
  std::string text = line.dump();
  text.pop_back();  // the closing brace: protobuf's JSON goes in as it is
  out_ << text << ",\"request\":" << request_json(planned.request) << "}\n";
}

absl::StatusOr<SavedWorkload> read_workload(std::istream& in, const SavedLimits& limits) {
  SavedWorkload workload;
  bool has_header = false;
  TurnOrder order;
  const absl::Status status =
      for_each_line(in, {limits.line_bytes, limits.lines}, [&](std::string_view text) {
        const auto json = parse_json(text, {.bytes = limits.line_bytes});
        if (!json.ok()) return json.status();
        if (!std::exchange(has_header, true)) return read_header(*json, workload);
        auto planned = read_request(*json);
        if (!planned.ok()) return planned.status();
        const std::vector<PlannedRequest>& before = workload.requests;
        if (before.empty()) {
          workload.timed = planned->at_ns >= 0;
        } else if (workload.timed != (planned->at_ns >= 0)) {
          return failure("at_ns: either every request has it or none");
        } else if (planned->at_ns < before.back().at_ns) {
          return failure("at_ns: is before the line above");
        } else if (!workload.timed && planned->turn > 0 &&
                   planned->conversation != before.back().conversation) {
          return failure("conversation: without at_ns the turns of one must follow each other");
        }
        if (absl::Status turns = order.take(*planned); !turns.ok()) return turns;
        workload.requests.push_back(*std::move(planned));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (workload.requests.empty()) return failure("it holds no requests");
  return workload;
}

SavedSource::SavedSource(std::vector<PlannedRequest> requests) : requests_(std::move(requests)) {}

std::optional<Conversation> SavedSource::next() {
  if (next_ == requests_.size()) return std::nullopt;
  Conversation turns;
  do {
    turns.push_back(std::move(requests_[next_++]));
  } while (next_ < requests_.size() && requests_[next_].turn > 0);
  return turns;
}

}  // namespace switchyard
