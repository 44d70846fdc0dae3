// Any bytes as a safetensors file: refused, or every tensor lies within them.
#include <cstdint>
#include <span>

#include "engine/weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const auto bytes = std::as_bytes(std::span(data, size));
  const Result<TensorMap> tensors = parse_safetensors(bytes);
  if (!tensors) {
    CHECK(!tensors.status().message().empty());
    return 0;
  }
  for (const auto& [name, tensor] : *tensors) {
    int64_t product = bytes_of(tensor.type);
    for (const int64_t dimension : tensor.shape) product *= dimension;
    CHECK(product == tensor.bytes);
    CHECK(tensor.data >= bytes.data());
    CHECK(tensor.data + tensor.bytes <= bytes.data() + bytes.size());
  }
  return 0;
}
