#include "client/cli/generate.h"

#include <iostream>
#include <iterator>

#include "client/rpc/status_details.h"

namespace switchyard {

void GenerateFlags::add_to(CLI::App& command) {
  prompt = "-";
  command.add_option("prompt", prompt, "The text to go on from; '-' or nothing: standard input");
  node.add_to(command);
  answer.add_to(command);
  CLI::Option* as_json = command.add_flag(
      "--json", json,
      "Print one JSON object when the answer is complete: GenerateResponse of generation.proto");
  command.add_flag("--stats", stats, "After the answer: tokens, times and why it ended")
      ->excludes(as_json);
}

int generate(const GenerateFlags& flags,
             v1::GenerationService::Stub& stub,
             std::istream& input,
             Output output) {
  v1::GenerateRequest request;
  request.set_model(flags.answer.model);
  *request.mutable_sampling() = flags.answer.sampling();
  *request.mutable_stop() = flags.answer.stop();
  request.set_text(flags.prompt != "-" ? flags.prompt
                                       : std::string(std::istreambuf_iterator<char>(input), {}));

  CancelToken cancel;  // never used: Ctrl-C ends the process, and with it the call
  const CallOptions options = flags.node.call_options();
  grpc::Status status;
  if (flags.json) {
    v1::GenerateResponse response;
    status = call_unary(options, cancel, [&](grpc::ClientContext& context) {
      return stub.Generate(&context, request, &response);
    });
    if (status.ok()) output.answers << to_json(response);
  } else {
    const OnText show = [&](std::string_view text) {
      output.answers << without_controls(text) << std::flush;
    };
    const AnswerOutcome outcome = generate(stub, request, options, {cancel, show});
    status = outcome.status;
    if (status.ok() || !outcome.answer.text.empty()) output.answers << '\n';
    if (status.ok() && flags.stats) output.messages << summary(outcome.answer) << '\n';
  }
  if (status.ok()) return 0;
  output.messages << "error: " << without_controls(describe(status, flags.node.channel.target))
                  << '\n';
  return 1;
}

int run_generate(const GenerateFlags& flags) {
  const auto stub = v1::GenerationService::NewStub(open_channel(flags.node.channel));
  return generate(flags, *stub, std::cin, {std::cout, std::cerr});
}

}  // namespace switchyard
