#include "engine/weights/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/engine/weights/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, HoldsTheBytesOfTheFile) {
  const TemporaryFolder folder;
  folder.write("file", "some bytes");
  const Result<MappedFile> file = MappedFile::open(folder.path() / "file");
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(text_of(*file), "some bytes");
  EXPECT_EQ(file->path(), folder.path() / "file");
}

TEST(MappedFile, KeepsItsBytesWhenMoved) {
  const TemporaryFolder folder;
  folder.write("a", "first");
  folder.write("b", "second");
  Result<MappedFile> a = MappedFile::open(folder.path() / "a");
  Result<MappedFile> b = MappedFile::open(folder.path() / "b");
  ASSERT_TRUE(a.ok() && b.ok());
  const void* address = b->bytes().data();
  MappedFile moved = *std::move(a);
  EXPECT_EQ(text_of(moved), "first");
  moved = *std::move(b);
  EXPECT_EQ(text_of(moved), "second");
  EXPECT_EQ(moved.bytes().data(), address);
}

TEST(MappedFile, TakesAnEmptyFile) {
  const TemporaryFolder folder;
  folder.write("empty", "");
  const Result<MappedFile> file = MappedFile::open(folder.path() / "empty");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFile, NamesThePathOfWhatItCannotOpen) {
  const TemporaryFolder folder;
  const Result<MappedFile> absent = MappedFile::open(folder.path() / "absent");
  EXPECT_EQ(absent.status().code(), Code::kNotFound);
  EXPECT_THAT(absent.status().message(), HasSubstr((folder.path() / "absent").string()));
  EXPECT_THAT(MappedFile::open(folder.path()).status().message(), HasSubstr("not a regular file"));
}

TEST(MappedFile, DoesNotWaitForTheWriterOfAPipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(MappedFile::open(folder.path() / "pipe").status().message(),
              HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace switchyard
