#include "client/cli/chat.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "client/cli/interrupt.h"
#include "client/rpc/status_details.h"

namespace switchyard {
namespace {

constexpr std::string_view kPrompt = "> ";
constexpr std::string_view kHelp =
    "  /system TEXT   what the assistant is told beforehand; nothing: not any more\n"
    "  /reset         forget the conversation\n"
    "  /help          this\n"
    "  /exit          leave; Ctrl-D too\n"
    "Ctrl-C ends an answer. Anything else is your turn.\n";

}  // namespace

void ChatFlags::add_to(CLI::App& command) {
  node.add_to(command);
  command.add_option("--system", system, "What the assistant is told before the conversation");
  answer.add_to(command);
  command.add_flag("--stats", stats, "After each answer: tokens, times and why it ended");
  command.footer(std::string("In the conversation:\n") + std::string(kHelp));
}

ChatSession::ChatSession(v1::ChatService::Stub& stub, ChatFlags flags, Output output, Lines lines)
    : stub_(stub),
      flags_(std::move(flags)),
      output_(output),
      lines_(lines),
      system_(flags_.system) {}

bool ChatSession::run(std::istream& input) {
  while (std::optional<std::string> line = read_line(input)) {
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line->starts_with('/')) {
      if (obey(*line) == Next::kEnd) return true;
      continue;
    }
    if (!take_turn(*line) && lines_ == Lines::kScript) return false;
  }
  if (lines_ == Lines::kTyped) output_.answers << '\n';
  return true;
}

std::optional<std::string> ChatSession::read_line(std::istream& input) {
  if (lines_ == Lines::kTyped) {
    std::lock_guard lock(mutex_);
    output_.answers << kPrompt << std::flush;
    reading_ = true;
  }
  std::string line;
  const bool got = static_cast<bool>(std::getline(input, line));
  std::lock_guard lock(mutex_);
  reading_ = false;
  if (!got) return std::nullopt;
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

ChatSession::Next ChatSession::obey(std::string_view line) {
  const size_t end_of_name = line.find_first_of(" \t");
  const std::string_view name = line.substr(0, end_of_name);
  const size_t text = line.find_first_not_of(" \t", end_of_name);
  if (name == "/exit") return Next::kEnd;
  if (name == "/reset") {
    turns_.clear();
    output_.messages << "the conversation is forgotten\n";
  } else if (name == "/system") {
    system_ = text == std::string_view::npos ? "" : line.substr(text);
    output_.messages << (system_.empty() ? "no system message\n" : "system message set\n");
  } else {
    if (name != "/help") output_.messages << "unknown command " << without_controls(name) << '\n';
    output_.messages << kHelp;
  }
  return Next::kContinue;
}

void ChatSession::remember(std::string_view role, std::string_view content) {
  v1::ChatMessage& turn = turns_.emplace_back();
  turn.set_role(std::string(role));
  turn.set_content(std::string(content));
}

bool ChatSession::take_turn(const std::string& question) {
  if (lines_ == Lines::kScript) output_.answers << kPrompt << question << std::endl;

  v1::CompleteRequest request;
  request.set_model(flags_.answer.model);
  *request.mutable_sampling() = flags_.answer.sampling();
  *request.mutable_stop() = flags_.answer.stop();
  if (!system_.empty()) {
    v1::ChatMessage& system = *request.mutable_chat()->add_messages();
    system.set_role("system");
    system.set_content(system_);
  }
  remember("user", question);
  for (const v1::ChatMessage& turn : turns_) *request.mutable_chat()->add_messages() = turn;

  CancelToken cancel;
  {
    std::lock_guard lock(mutex_);
    answering_ = &cancel;
  }
  const OnText show = [&](std::string_view text) {
    output_.answers << without_controls(text) << std::flush;
  };
  const auto [status, answer] =
      complete(stub_, request, flags_.node.call_options(), {cancel, show});
  {
    std::lock_guard lock(mutex_);
    answering_ = nullptr;
  }

  if (status.ok() || !answer.text.empty()) output_.answers << '\n';
  const bool interrupted = cancel.cancelled() && !status.ok();
  if (!status.ok() && !interrupted) {
    output_.messages << "error: " << without_controls(describe(status, flags_.node.channel.target))
                     << '\n';
    turns_.pop_back();
    return false;
  }
  if (interrupted) output_.messages << "(interrupted)\n";
  if (answer.text.empty() && interrupted) {
    turns_.pop_back();
  } else {
    remember("assistant", answer.text);
  }
  if (flags_.stats && status.ok()) output_.messages << summary(answer) << '\n';
  if (lines_ == Lines::kScript) output_.answers << std::endl;
  return true;
}

void ChatSession::interrupt() {
  std::lock_guard lock(mutex_);
  if (answering_ != nullptr) {
    answering_->cancel();
  } else if (reading_) {
    output_.answers << "\n(/exit or Ctrl-D leaves)\n" << kPrompt << std::flush;
  }
}

int run_chat(const ChatFlags& flags) {
  // Set after the signal thread exists; until then there is nothing to interrupt.
  std::mutex session_mutex;
  ChatSession* session = nullptr;  // under session_mutex
  const Interrupts interrupts([&] {
    std::lock_guard lock(session_mutex);
    if (session != nullptr) session->interrupt();
  });

  const auto stub = v1::ChatService::NewStub(open_channel(flags.node.channel));
  const Lines lines = isatty(STDIN_FILENO) != 0 ? Lines::kTyped : Lines::kScript;
  ChatSession chat(*stub, flags, {std::cout, std::cerr}, lines);
  {
    std::lock_guard lock(session_mutex);
    session = &chat;
  }
  if (lines == Lines::kTyped) std::cout << "/help lists the commands, /exit leaves\n";
  const bool ok = chat.run(std::cin);
  std::lock_guard lock(session_mutex);
  session = nullptr;
  return ok ? 0 : 1;
}

}  // namespace switchyard
