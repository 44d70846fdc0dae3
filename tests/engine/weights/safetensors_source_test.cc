// Checkpoint folders: one file, shards, and everything that can be wrong with an index.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/weights/tensor_source.h"
#include "tests/engine/weights/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kIndex[] = "model.safetensors.index.json";

std::string refusal(const std::filesystem::path& folder,
                    const FileOpener& opener = MappedFile::open) {
  const Result<std::unique_ptr<TensorSource>> source =
      open_safetensors(folder, Reading::kOnTouch, opener);
  return source ? "accepted" : source.status().message();
}

// Two shards, x in one and y in the other.
void write_shards(const TemporaryFolder& folder) {
  folder.write("one.safetensors", file_of({counting("x", {2})}));
  folder.write("two.safetensors", file_of({counting("y", {3})}));
  folder.write(kIndex, R"({"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}})");
}

TEST(SafetensorsSource, GivesTheTensorsOfASingleFile) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", file_of({counting("x", {2}), counting("y", {3})}));
  Result<std::unique_ptr<TensorSource>> source = open_safetensors(folder.path());
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_TRUE((*source)->has("x"));
  EXPECT_FALSE((*source)->has("z"));
  EXPECT_THAT((*source)->untaken(), ElementsAre("x", "y"));
  const Result<StoredTensor> y = (*source)->take({.name = "y", .shape = {3}});
  ASSERT_TRUE(y.ok());
  EXPECT_EQ(y->bytes, 12);
  EXPECT_THAT((*source)->untaken(), ElementsAre("x"));
  EXPECT_THAT((*source)->take({.name = "z", .shape = {3}}).status().message(),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("'z' is missing")));
}

TEST(SafetensorsSource, GivesTheTensorsOfAllShards) {
  const TemporaryFolder folder;
  write_shards(folder);
  Result<std::unique_ptr<TensorSource>> source = open_safetensors(folder.path());
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_THAT((*source)->untaken(), ElementsAre("x", "y"));
  EXPECT_EQ((*source)->origin("y"), folder.path() / "two.safetensors");
}

TEST(SafetensorsSource, SaysWhenAFolderHoldsNoCheckpoint) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal(folder.path()),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("neither")));
}

TEST(SafetensorsSource, NamesAShardThatIsNotThere) {
  const TemporaryFolder folder;
  write_shards(folder);
  std::filesystem::remove(folder.path() / "two.safetensors");
  EXPECT_THAT(refusal(folder.path()), AllOf(HasSubstr(kIndex), HasSubstr("two.safetensors")));
}

TEST(SafetensorsSource, NamesTheFileThatIsBroken) {
  const TemporaryFolder folder;
  write_shards(folder);
  folder.write("two.safetensors", "short");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("two.safetensors: too short"));
}

TEST(SafetensorsSource, RefusesAnIndexThatDisagreesWithItsShards) {
  const TemporaryFolder folder;
  write_shards(folder);
  folder.write(kIndex, R"({"weight_map": {"x": "one.safetensors", "y": "two.safetensors",
                                          "z": "two.safetensors"}})");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("two.safetensors: has no tensor 'z'"));
  folder.write("one.safetensors", file_of({counting("x", {2}), counting("w", {2})}));
  folder.write(kIndex, R"({"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}})");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("tensor 'w'"));
  folder.write("one.safetensors", file_of({counting("x", {2}), counting("y", {3})}));
  EXPECT_THAT(refusal(folder.path()), AllOf(HasSubstr("'y'"), HasSubstr("in another file")));
}

TEST(SafetensorsSource, RefusesShardsOutsideOfTheFolder) {
  const TemporaryFolder folder;
  write_shards(folder);
  for (const char* name :
       {"../one.safetensors", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b", "one\\u0000"}) {
    folder.write(kIndex, R"({"weight_map": {"x": ")" + std::string(name) + "\"}}");
    EXPECT_THAT(refusal(folder.path()), HasSubstr("not a file of this folder")) << name;
  }
}

TEST(SafetensorsSource, RefusesAnIndexThatIsNone) {
  const TemporaryFolder folder;
  for (const char* text : {"", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {"x": 3}})",
                           R"({"weight_map": {"x": ["a"]}})", "[[[[[[[[[["}) {
    folder.write(kIndex, text);
    EXPECT_THAT(refusal(folder.path()), HasSubstr(kIndex)) << text;
  }
}

// A disk that fails at one file, as far as the source can see.
TEST(SafetensorsSource, PassesOnWhyAFileCannotBeRead) {
  const TemporaryFolder folder;
  write_shards(folder);
  const FileOpener failing = [](const std::filesystem::path& path) -> Result<MappedFile> {
    if (path.filename() == "two.safetensors") {
      return Status(Code::kFailedPrecondition, path.string(), ": input/output error");
    }
    return MappedFile::open(path);
  };
  EXPECT_THAT(refusal(folder.path(), failing), HasSubstr("two.safetensors: input/output error"));
}

}  // namespace
}  // namespace switchyard
