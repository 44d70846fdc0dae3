// `switchyard chat`: a conversation, line by line. Keeps the turns; the node keeps nothing.
// Reads typed lines or a script; Ctrl-C (interrupt) ends an answer and never the program.
#pragma once

#include <iosfwd>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/cli/flags.h"
#include "client/cli/output.h"
#include "client/rpc/answer.h"

namespace switchyard {

struct ChatFlags {
  NodeFlags node;
  AnswerFlags answer;
  std::string system;
  bool stats = false;

  void add_to(CLI::App& command);
};

// Where lines come from. Typed: a prompt is shown, and a failed turn is the person's to repeat.
// Script: questions are echoed beside the answers, and the first failure ends it.
enum class Lines { kTyped, kScript };

class ChatSession {
 public:
  // `stub` and the streams of `output` must outlive it.
  ChatSession(v1::ChatService::Stub& stub, ChatFlags flags, Output output, Lines lines);

  // Until /exit or the end of `input`. False: a script's turn failed.
  bool run(std::istream& input);

  // Any thread: ends the answer that is being made, if one is.
  void interrupt();

 private:
  enum class Next { kContinue, kEnd };

  std::optional<std::string> read_line(std::istream& input);
  Next obey(std::string_view line);
  // False: the turn failed and is not part of the conversation.
  bool take_turn(const std::string& question);
  void remember(std::string_view role, std::string_view content);

  v1::ChatService::Stub& stub_;
  const ChatFlags flags_;
  const Output output_;
  const Lines lines_;

  std::string system_;                  // running thread
  std::vector<v1::ChatMessage> turns_;  // running thread

  // Held while the prompt is written, so that a Ctrl-C's hint does not fall into it.
  std::mutex mutex_;
  CancelToken* answering_ = nullptr;  // under mutex_
  bool reading_ = false;              // under mutex_
};

// The subcommand: SIGINT and the standard streams. Returns the process's exit code.
int run_chat(const ChatFlags& flags);

}  // namespace switchyard
