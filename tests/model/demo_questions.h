// The demo model's held-out questions (deploy/demo-model/eval_prompts.json) as prompts.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/chat_template_files.h"
#include "engine/text/tokenizer.h"
#include "tests/support/source_dir.h"

namespace switchyard {

inline std::filesystem::path demo_model() { return source_dir() / "deploy/demo-model"; }

struct DemoQuestion {
  std::vector<int32_t> prompt;
  std::string answer;
};

// Of every task's questions every n-th, those of more than `most_bytes` of text left out.
inline std::vector<DemoQuestion> demo_questions(const Tokenizer& tokenizer,
                                                size_t every = 1,
                                                size_t most_bytes = SIZE_MAX) {
  std::vector<DemoQuestion> chosen;
  const auto files = load_chat_template(demo_model());
  CHECK(files.ok() && files->has_value());
  const Result<ChatTemplate> chat = ChatTemplate::parse((*files)->source);
  CHECK_OK(chat);
  std::ifstream file(demo_model() / "eval_prompts.json");
  const auto tasks = nlohmann::ordered_json::parse(file);
  for (const auto& [task, questions] : tasks.items()) {
    for (size_t i = 0; i < questions.size(); i += every) {
      const auto& messages = questions[i].at("messages");
      size_t bytes = 0;
      for (const auto& message : messages) bytes += message.at("content").get<std::string>().size();
      if (bytes > most_bytes) continue;
      const Result<std::string> text = chat->render({.messages = messages,
                                                     .tools = nullptr,
                                                     .kwargs = nullptr,
                                                     .bos_token = (*files)->bos_token,
                                                     .eos_token = (*files)->eos_token,
                                                     .now = {}});
      CHECK_OK(text);
      chosen.push_back({.prompt = *tokenizer.encode(*text, {.add_special_tokens = false}),
                        .answer = questions[i].at("answer")});
    }
  }
  return chosen;
}

}  // namespace switchyard
