// Writes small safetensors files for tests, right or wrong on purpose, into a folder of their own.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/base/check.h"

namespace switchyard {

// A tensor to be written: its values are bytes of any kind.
struct FileTensor {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
  std::string bytes;
};

inline FileTensor f32_tensor(std::string name,
                             std::vector<int64_t> shape,
                             const std::vector<float>& values) {
  FileTensor tensor{std::move(name), "F32", std::move(shape), std::string(values.size() * 4, 0)};
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

// f32 0, 1, 2, ... + first.
inline FileTensor counting(std::string name, std::vector<int64_t> shape, float first = 0) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
  return f32_tensor(std::move(name), std::move(shape), values);
}

// `header` as it is, then `data`.
inline std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(sizeof(length), 0);
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + data;
}

// A right file. `padding` spaces end the header, to move the data to any alignment.
inline std::string file_of(const std::vector<FileTensor>& tensors, size_t padding = 0) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::string data;
  for (const FileTensor& tensor : tensors) {
    header += ",\"" + tensor.name + "\":{\"dtype\":\"" + tensor.type + "\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      header += (i > 0 ? "," : "") + std::to_string(tensor.shape[i]);
    }
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + ",";
    data += tensor.bytes;
    header += std::to_string(data.size()) + "]}";
  }
  return file_of(header + "}" + std::string(padding, ' '), data);
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "switchyard-XXXXXX";
    CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream out(path_ / name, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    CHECK(out.good());
  }

 private:
  std::filesystem::path path_;
};

}  // namespace switchyard
