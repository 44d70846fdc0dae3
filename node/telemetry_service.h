// TelemetryService: what the node is and how busy it is.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace switchyard {

class Node;

// `node` must outlive it.
std::unique_ptr<grpc::Service> make_telemetry_service(Node& node);

}  // namespace switchyard
