#include "client/load/prompt_file.h"

#include <unordered_map>
#include <utility>

#include "client/load/failure.h"
#include "client/load/json_fields.h"
#include "client/load/lines.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

void read_messages(const nlohmann::json& list, std::string& problem, v1::ChatInput& chat) {
  for (size_t i = 0; i < list.size(); ++i) {
    JsonFields fields(list[i], words("messages[", i, "]"), problem);
    std::string role;
    std::string content;
    fields.text("role", role, 64);
    fields.text("content", content, SIZE_MAX);
    if (role.empty()) fields.complain("role", "must not be empty");
    fields.refuse_others();
    v1::ChatMessage& message = *chat.add_messages();
    message.set_role(std::move(role));
    message.set_content(std::move(content));
  }
}

void read_token_ids(const nlohmann::json& list, JsonFields& fields, v1::TokenIds& ids) {
  for (const nlohmann::json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
      return fields.complain("token_ids", "must be whole numbers in [0, 2147483647]");
    }
    ids.add_ids(id.get<int32_t>());
  }
}

struct Line {
  PromptLine prompt;
  std::string session;  // empty: none
};

absl::StatusOr<Line> read_line(std::string_view text,
                               const std::vector<ClassSpec>& classes,
                               const PromptLimits& limits) {
  auto json = parse_json(text, {.bytes = limits.line_bytes});
  if (!json.ok()) return json.status();
  Line line;
  std::string problem;
  JsonFields fields(*json, "", problem);
  const int prompts = fields.has("text") + fields.has("messages") + fields.has("token_ids");
  if (prompts != 1 && problem.empty()) {
    problem = "needs exactly one of text, messages and token_ids";
  }
  v1::GenerateRequest& request = line.prompt.prompt;
  if (fields.has("text")) {
    fields.text("text", *request.mutable_text(), SIZE_MAX);
    if (request.text().empty()) fields.complain("text", "must not be empty");
  } else if (const auto* messages = fields.array("messages", 10'000)) {
    if (messages->empty()) fields.complain("messages", "must not be empty");
    read_messages(*messages, problem, *request.mutable_chat());
  } else if (const auto* ids = fields.array("token_ids", 1 << 22)) {
    if (ids->empty()) fields.complain("token_ids", "must not be empty");
    read_token_ids(*ids, fields, *request.mutable_token_ids());
  }
  fields.integer("answer_tokens", line.prompt.answer_tokens, 1, 1 << 22);
  std::string class_name;
  fields.text("class", class_name, 64);
  if (!class_name.empty()) {
    size_t& index = line.prompt.class_index;
    while (index < classes.size() && classes[index].name != class_name) ++index;
    if (index == classes.size()) fields.complain("class", "is none of the workload's classes");
  }
  fields.text("session", line.session, 256);
  fields.refuse_others();
  if (!problem.empty()) return failure(problem);
  return line;
}

}  // namespace

absl::StatusOr<PromptFile> read_prompts(std::istream& in,
                                        const std::vector<ClassSpec>& classes,
                                        const PromptLimits& limits) {
  PromptFile file;
  std::unordered_map<std::string, size_t> sessions;
  const absl::Status status =
      for_each_line(in, {limits.line_bytes, limits.lines}, [&](std::string_view text) {
        absl::StatusOr<Line> line = read_line(text, classes, limits);
        if (!line.ok()) return line.status();
        size_t index = file.size();
        if (!line->session.empty()) {
          index = sessions.try_emplace(line->session, file.size()).first->second;
        }
        if (index == file.size()) file.emplace_back();
        std::vector<PromptLine>& turns = file[index];
        if (!turns.empty() && turns[0].prompt.input_case() != line->prompt.prompt.input_case()) {
          return failure("session: its turns must all be text, all messages or all token_ids");
        }
        turns.push_back(std::move(line->prompt));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (file.empty()) return failure("it holds no prompts");
  return file;
}

PromptSource::PromptSource(PromptFile file, std::vector<ClassSpec> classes, MakerOptions options)
    : file_(std::move(file)), classes_(std::move(classes)), options_(std::move(options)) {}

std::optional<Conversation> PromptSource::next() {
  const int64_t number = next_++;
  const std::vector<PromptLine>& lines = file_[static_cast<size_t>(number) % file_.size()];
  Conversation turns;
  for (const PromptLine& line : lines) {
    const auto turn = static_cast<int32_t>(turns.size());
    PlannedRequest planned =
        make_request(classes_[line.class_index], {number, turn}, line.answer_tokens, options_);
    planned.request.MergeFrom(line.prompt);
    planned.last_turn = turns.size() + 1 == lines.size();
    turns.push_back(std::move(planned));
  }
  return turns;
}

}  // namespace switchyard
