// ChatService: conversations in, answers as typed events out.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace switchyard {

class Node;

// `node` must outlive it.
std::unique_ptr<grpc::Service> make_chat_service(Node& node);

}  // namespace switchyard
