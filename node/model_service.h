// ModelService: what the node serves and with which defaults.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace switchyard {

class Node;

// `node` must outlive it.
std::unique_ptr<grpc::Service> make_model_service(Node& node);

}  // namespace switchyard
