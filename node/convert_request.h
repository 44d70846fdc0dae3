// Protobuf requests to engine types. With convert_answer and convert_status the only place that
// knows both. Every function here is pure and safe for any message that protobuf can parse.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "engine/request/request.h"
#include "node/question.h"

namespace switchyard::v1 {
class ChatInput;
class CompleteRequest;
class GenerateRequest;
class SamplingParameters;
}  // namespace switchyard::v1

namespace switchyard {

// Fields of SamplingParameters that a request leaves unset are taken from `defaults`.
// invalid_argument names the field as the API spells it.
Result<Question> read_question(const v1::GenerateRequest& request,
                               const SamplingParameters& defaults);
Result<Question> read_question(const v1::CompleteRequest& request,
                               const SamplingParameters& defaults);
Result<ChatPrompt> read_chat(const v1::ChatInput& chat);

// What GetModel publishes: every field set, but for the seed.
void write_sampling(const SamplingParameters& sampling, v1::SamplingParameters& out);

}  // namespace switchyard
