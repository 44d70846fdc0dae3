// AdminService: lists, aborts and drains; only for the admin listener.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace switchyard {

class Node;

// `node` must outlive it.
std::unique_ptr<grpc::Service> make_admin_service(Node& node);

}  // namespace switchyard
