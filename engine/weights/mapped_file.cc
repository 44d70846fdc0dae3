#include "engine/weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace switchyard {
namespace {

struct Descriptor {
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int number;
};

Status system_failure(const std::filesystem::path& path, const char* what) {
  const int error = errno;
  const Code code = error == ENOENT   ? Code::kNotFound
                    : error == ENOMEM ? Code::kResourceExhausted
                                      : Code::kFailedPrecondition;
  return {code, path.string(), ": ", what, ": ", std::strerror(error)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // Not blocking: opening a pipe must fail below, not wait for its writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number < 0) return system_failure(path, "cannot open");
  struct stat facts {};
  if (::fstat(file.number, &facts) != 0) return system_failure(path, "cannot read its size");
  if (!S_ISREG(facts.st_mode)) {
    return Status(Code::kFailedPrecondition, path.string(), ": not a regular file");
  }
  const auto size = static_cast<size_t>(facts.st_size);
  if (size == 0) return MappedFile(path, {});
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (memory == MAP_FAILED) return system_failure(path, "cannot map");
  // Megabytes for each page fault instead of a read-ahead of 128 KiB; where the file system can, in
  // large pages.
  (void)::madvise(memory, size, MADV_HUGEPAGE);
  return MappedFile(path, {static_cast<const std::byte*>(memory), size});
}

MappedFile::MappedFile(std::filesystem::path path, std::span<const std::byte> bytes)
    : path_(std::move(path)), bytes_(bytes) {}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace switchyard
