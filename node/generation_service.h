// GenerationService: prompts in, answers out; and the tokenizer and template on their own.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace switchyard {

class Node;

// `node` must outlive it.
std::unique_ptr<grpc::Service> make_generation_service(Node& node);

}  // namespace switchyard
