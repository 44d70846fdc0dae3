#include "client/cli/models.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <iomanip>
#include <iostream>

#include "client/rpc/status_details.h"

namespace switchyard {
namespace {

std::string mebibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string defaults(const v1::SamplingParameters& sampling) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(sampling, &json, options);
  return status.ok() ? json : "?";
}

void print_table(const v1::ListModelsResponse& response, std::ostream& out) {
  size_t name_width = 4;
  size_t architecture_width = 12;
  for (const v1::Model& model : response.models()) {
    name_width = std::max(name_width, model.name().size());
    architecture_width = std::max(architecture_width, model.architecture().size());
  }
  const auto row = [&](std::string_view name, std::string_view architecture, auto context,
                       auto vocabulary, std::string_view weights) {
    out << std::left << std::setw(static_cast<int>(name_width) + 2) << name
        << std::setw(static_cast<int>(architecture_width) + 2) << architecture << std::right
        << std::setw(8) << context << std::setw(12) << vocabulary << std::setw(14) << weights;
  };
  row("NAME", "ARCHITECTURE", "CONTEXT", "VOCABULARY", "WEIGHTS");
  out << "  TAKES\n";
  for (const v1::Model& model : response.models()) {
    row(without_controls(model.name()), without_controls(model.architecture()),
        model.context_tokens(), model.vocab_size(), mebibytes(model.weight_bytes()));
    out << "  tokens" << (model.has_tokenizer() ? ", text" : "")
        << (model.has_chat_template() ? ", chat" : "") << '\n';
  }
}

void print_model(const v1::Model& model, std::ostream& out) {
  out << "name               " << without_controls(model.name()) << '\n'
      << "architecture       " << without_controls(model.architecture()) << '\n'
      << "context            " << model.context_tokens() << " tokens\n"
      << "vocabulary         " << model.vocab_size() << " tokens\n"
      << "weights            " << mebibytes(model.weight_bytes()) << '\n'
      << "takes              tokens" << (model.has_tokenizer() ? ", text" : "")
      << (model.has_chat_template() ? ", chat" : "") << '\n'
      << "ends answers with ";
  for (const int32_t token : model.eos_token_ids()) out << ' ' << token;
  out << "\nsampling defaults  " << defaults(model.sampling_defaults()) << '\n';
}

int report(const grpc::Status& status, const ModelsFlags& flags, Output output) {
  output.messages << "error: " << without_controls(describe(status, flags.node.channel.target))
                  << '\n';
  return 1;
}

}  // namespace

void ModelsFlags::add_to(CLI::App& command) {
  command.add_option("name", name, "Only this model, with its defaults");
  node.add_to(command);
  command.add_flag("--json", json,
                   "Print JSON: ListModelsResponse or GetModelResponse of model.proto");
}

int models(const ModelsFlags& flags, v1::ModelService::Stub& stub, Output output) {
  CancelToken cancel;  // never used: Ctrl-C ends the process, and with it the call
  const CallOptions options = flags.node.call_options();
  if (flags.name.empty()) {
    v1::ListModelsResponse response;
    const grpc::Status status = call_unary(options, cancel, [&](grpc::ClientContext& context) {
      return stub.ListModels(&context, {}, &response);
    });
    if (!status.ok()) return report(status, flags, output);
    if (flags.json) {
      output.answers << to_json(response);
    } else {
      print_table(response, output.answers);
    }
    return 0;
  }
  v1::GetModelRequest request;
  request.set_model(flags.name);
  v1::GetModelResponse response;
  const grpc::Status status = call_unary(options, cancel, [&](grpc::ClientContext& context) {
    return stub.GetModel(&context, request, &response);
  });
  if (!status.ok()) return report(status, flags, output);
  if (flags.json) {
    output.answers << to_json(response);
  } else {
    print_model(response.model(), output.answers);
  }
  return 0;
}

int run_models(const ModelsFlags& flags) {
  const auto stub = v1::ModelService::NewStub(open_channel(flags.node.channel));
  return models(flags, *stub, {std::cout, std::cerr});
}

}  // namespace switchyard
