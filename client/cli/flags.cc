#include "client/cli/flags.h"

#include <cmath>

namespace switchyard {

void NodeFlags::add_to(CLI::App& command) {
  command.add_option("--node", channel.target, "Address of the node, host:port")
      ->envname("SWITCHYARD_NODE")
      ->capture_default_str();
  constexpr double kLongestSeconds = 86'400;
  command
      .add_option("--timeout", timeout_seconds,
                  "Give up on an answer after this many seconds (default: never)")
      ->check(CLI::Range(0.001, kLongestSeconds));
}

CallOptions NodeFlags::call_options() const {
  CallOptions options;
  if (timeout_seconds) {
    options.timeout = std::chrono::milliseconds(std::llround(*timeout_seconds * 1000));
  }
  return options;
}

void AnswerFlags::add_to(CLI::App& command) {
  // Ranges are the node's to check: it names the field and the limit, and it may be newer.
  command.add_option("--model", model, "Name of the model (default: the node's only one)");
  command.add_option("--temperature", temperature, "Divides the logits; 0 is greedy");
  command.add_option("--top-k", top_k, "Only the K most probable tokens; 0: all");
  command.add_option("--top-p", top_p, "Only the most probable tokens that make up this share");
  command.add_option("--min-p", min_p, "Drop tokens below this share of the most probable one");
  command.add_option("--repetition-penalty", repetition_penalty,
                     "Above 1: tokens of prompt and answer become less probable");
  command.add_option("--presence-penalty", presence_penalty,
                     "Subtracted from the logit of each token that the answer has");
  command.add_option("--frequency-penalty", frequency_penalty,
                     "Subtracted from a token's logit each time that the answer has it");
  command.add_option("--seed", seed, "The same seed and request give the same answer");
  command.add_option("--max-new-tokens", max_new_tokens,
                     "Most tokens of an answer (default: what the context leaves)");
  command.add_option("--stop", stop_strings, "End the answer before this text; may be repeated")
      ->allow_extra_args(false);
}

v1::SamplingParameters AnswerFlags::sampling() const {
  v1::SamplingParameters sampling;
  if (temperature) sampling.set_temperature(*temperature);
  if (top_k) sampling.set_top_k(*top_k);
  if (top_p) sampling.set_top_p(*top_p);
  if (min_p) sampling.set_min_p(*min_p);
  if (repetition_penalty) sampling.set_repetition_penalty(*repetition_penalty);
  if (presence_penalty) sampling.set_presence_penalty(*presence_penalty);
  if (frequency_penalty) sampling.set_frequency_penalty(*frequency_penalty);
  if (seed) sampling.set_seed(*seed);
  return sampling;
}

v1::StopCondition AnswerFlags::stop() const {
  v1::StopCondition stop;
  if (max_new_tokens) stop.set_max_new_tokens(*max_new_tokens);
  for (const std::string& text : stop_strings) stop.add_stop_strings(text);
  return stop;
}

}  // namespace switchyard
