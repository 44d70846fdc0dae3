// MappedFile: the bytes of one regular file, mapped read-only for as long as the object lives.
// Knows nothing of formats. A file that another process cuts short while it is mapped is beyond
// help; what this does is map exactly the size that the open descriptor had.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>

#include "engine/base/result.h"

namespace switchyard {

class MappedFile {
 public:
  // Errors name the path: absent (kNotFound), not a regular file, unreadable, no address space.
  // An empty file is an empty span.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  // Page aligned; valid until this object is destroyed, also after it was moved.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes);

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

// How weights get at files: MappedFile::open, or a test's double that fails on purpose.
using FileOpener = std::function<Result<MappedFile>(const std::filesystem::path&)>;

}  // namespace switchyard
