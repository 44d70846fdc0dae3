#include "client/load/prompt_file.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "client/load/failure.h"
#include "client/load/json_fields.h"
#include "client/load/sharegpt.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int32_t kMostAnswerTokens = 1 << 22;

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

struct Entry {
  std::vector<PromptLine> turns;
  std::string session;  // empty: none
};

PromptLine read_prompt(JsonFields& fields, std::string& problem) {
  PromptLine line;
  const int prompts = fields.has("text") + fields.has("messages") + fields.has("token_ids");
  if (prompts != 1 && problem.empty()) {
    problem = "needs exactly one of text, messages, token_ids and conversations";
  }
  v1::GenerateRequest& request = line.prompt;
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
  fields.integer("answer_tokens", line.answer_tokens, 1, kMostAnswerTokens);
  return line;
}

absl::StatusOr<Entry> read_entry(const nlohmann::json& json,
                                 const std::vector<ClassSpec>& classes) {
  Entry entry;
  std::string problem;
  if (is_sharegpt(json)) {
    entry.turns = read_sharegpt(json, problem);
    if (!problem.empty()) return failure(problem);
    return entry;
  }
  JsonFields fields(json, "", problem);
  PromptLine line = read_prompt(fields, problem);
  std::string class_name;
  fields.text("class", class_name, 64);
  if (!class_name.empty()) {
    while (line.class_index < classes.size() && classes[line.class_index].name != class_name) {
      ++line.class_index;
    }
    if (line.class_index == classes.size()) {
      fields.complain("class", "is none of the workload's classes");
    }
  }
  fields.text("session", entry.session, 256);
  fields.refuse_others();
  if (!problem.empty()) return failure(problem);
  entry.turns.push_back(std::move(line));
  return entry;
}

}  // namespace

absl::StatusOr<PromptFile> read_prompts(std::istream& in,
                                        const std::vector<ClassSpec>& classes,
                                        const DocumentLimits& limits) {
  PromptFile file;
  std::unordered_map<std::string, size_t> sessions;
  const absl::Status status = for_each_document(in, limits, [&](const nlohmann::json& json) {
    absl::StatusOr<Entry> entry = read_entry(json, classes);
    if (!entry.ok()) return entry.status();
    if (entry->turns.empty()) return absl::OkStatus();
    size_t index = file.size();
    if (!entry->session.empty()) {
      index = sessions.try_emplace(entry->session, file.size()).first->second;
    }
    if (index == file.size()) file.emplace_back();
    std::vector<PromptLine>& turns = file[index];
    if (!turns.empty() && turns[0].prompt.input_case() != entry->turns[0].prompt.input_case()) {
      return failure("session: its turns must all be text, all messages or all token_ids");
    }
    std::ranges::move(entry->turns, std::back_inserter(turns));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (file.empty()) return failure("it holds no prompts");
  return file;
}

absl::Status count_recorded_answers(PromptFile& file,
                                    size_t conversations,
                                    const CountTokens& count) {
  std::vector<PromptLine*> lines;
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < std::min(conversations, file.size()); ++i) {
    for (PromptLine& line : file[i]) {
      if (line.recorded_answer.empty()) continue;
      lines.push_back(&line);
      texts.push_back(line.recorded_answer);
    }
  }
  if (!texts.empty()) {
    const auto tokens = count(texts);
    if (!tokens.ok()) return tokens.status();
    for (size_t i = 0; i < lines.size(); ++i) {
      lines[i]->answer_tokens = std::clamp((*tokens)[i], 1, kMostAnswerTokens);
    }
  }
  for (std::vector<PromptLine>& turns : file) {
    for (PromptLine& line : turns) std::string().swap(line.recorded_answer);
  }
  return absl::OkStatus();
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
