#include "engine/weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/weights/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<TensorMap> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file.data(), file.size())));
}

std::string refusal(const std::string& file) {
  const Result<TensorMap> result = parse(file);
  return result ? "accepted" : result.status().message();
}

// One header entry and eight bytes of data.
std::string entry(const std::string& fields) {
  return file_of("{\"t\":{" + fields + "}}", std::string(8, 0));
}

TEST(Safetensors, FindsEachTensorsTypeShapeAndBytes) {
  const std::string file = file_of({counting("a", {2, 3}), {"b", "BF16", {2}, "wxyz"}});
  const Result<TensorMap> tensors = parse(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 2u);
  const StoredTensor& a = tensors->at("a");
  EXPECT_EQ(a.type, ElementType::kF32);
  EXPECT_THAT(a.shape, ElementsAre(2, 3));
  EXPECT_EQ(a.bytes, 24);
  float last = 0;
  std::memcpy(&last, a.data + 20, 4);
  EXPECT_EQ(last, 5);
  EXPECT_EQ(std::memcmp(tensors->at("b").data, "wxyz", 4), 0);
}

TEST(Safetensors, KnowsEveryTypeOfTheFormatByName) {
  for (const auto& [name, bytes] : std::vector<std::pair<std::string, size_t>>{{"F64", 8},
                                                                               {"I64", 8},
                                                                               {"U64", 8},
                                                                               {"F32", 4},
                                                                               {"I32", 4},
                                                                               {"U32", 4},
                                                                               {"F16", 2},
                                                                               {"BF16", 2},
                                                                               {"I16", 2},
                                                                               {"U16", 2},
                                                                               {"I8", 1},
                                                                               {"U8", 1},
                                                                               {"BOOL", 1},
                                                                               {"F8_E4M3", 1},
                                                                               {"F8_E5M2", 1}}) {
    const std::string file = file_of({{"t", name, {3}, std::string(3 * bytes, 0)}});
    const Result<TensorMap> tensors = parse(file);
    ASSERT_TRUE(tensors.ok()) << tensors.status().message();
    EXPECT_EQ(name_of(tensors->at("t").type), name);
    EXPECT_EQ(bytes_of(tensors->at("t").type), static_cast<int64_t>(bytes));
  }
}

TEST(Safetensors, TakesScalarsAndEmptyTensors) {
  const std::string file = file_of({{"scalar", "F32", {}, "abcd"}, {"empty", "F32", {0, 7}, ""}});
  const Result<TensorMap> tensors = parse(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->at("scalar").bytes, 4);
  EXPECT_EQ(tensors->at("empty").bytes, 0);
}

TEST(Safetensors, RefusesAHeaderThatIsNotWhole) {
  EXPECT_THAT(refusal(""), HasSubstr("too short"));
  EXPECT_THAT(refusal("1234567"), HasSubstr("too short"));
  EXPECT_THAT(refusal(std::string(8, '\xff')), HasSubstr("a header of 18446744073709551615"));
  const std::string whole = file_of({counting("a", {2})});
  EXPECT_THAT(refusal(whole.substr(0, 20)), HasSubstr("a header of"));
  EXPECT_THAT(refusal(whole.substr(0, whole.size() - 1)),
              AllOf(HasSubstr("'a'"), HasSubstr("of 7")));
  std::string huge = whole;
  const uint64_t length = 100'000'001;
  std::memcpy(huge.data(), &length, 8);
  EXPECT_THAT(refusal(huge), HasSubstr("limit 100000000"));
}

TEST(Safetensors, RefusesAHeaderThatIsNotAnObjectOfTensors) {
  for (const char* header : {"", "[]", "3", "{", "{\"t\":3}", "{\"t\":[]}", "{\"t\":{\"x\":{}}}",
                             "{\"__metadata__\":{\"a\":{}}}", "{\"t\":{}} x", "{\"t\":null}"}) {
    EXPECT_FALSE(parse(file_of(header, "")).ok()) << header;
  }
  EXPECT_FALSE(parse(file_of(std::string(1000000, '['), "")).ok());
  EXPECT_FALSE(parse(file_of("{\"t\":{\"shape\":" + std::string(100000, '['), "")).ok());
}

TEST(Safetensors, NamesTheTensorWhoseDescriptionIsWrong) {
  const std::string shape = R"("shape":[2],)";
  const std::string range = R"("data_offsets":[0,8])";
  EXPECT_EQ(refusal(entry(R"("dtype":"F32",)" + shape + range)), "accepted");
  EXPECT_THAT(refusal(entry(shape + range)), HasSubstr("'t' has no dtype"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32",)" + range)), HasSubstr("'t' has no shape"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[2])")), HasSubstr("'t' has no pair"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","data_offsets":[8],)" + shape.substr(0, 11))),
              HasSubstr("'t' has no pair"));
  EXPECT_THAT(refusal(entry(R"("dtype":"Q7",)" + shape + range)), HasSubstr("unknown dtype 'Q7'"));
  EXPECT_THAT(refusal(entry(R"("dtype":4,)" + shape + range)), HasSubstr("'t'"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[-2],)" + range)), HasSubstr("'t'"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[3],)" + range)), HasSubstr("needs 12 bytes"));
  EXPECT_THAT(refusal(entry(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],)" + range)),
              HasSubstr("too many dimensions"));
}

TEST(Safetensors, RefusesRangesOutsideOfTheFile) {
  const std::string start = R"("dtype":"F32","shape":[2],"data_offsets":)";
  for (const char* range : {"[4,12]", "[8,0]", "[18446744073709551615,7]", "[9,17]",
                            "[18446744073709551608,18446744073709551615]"}) {
    EXPECT_THAT(refusal(entry(start + range)), HasSubstr("'t' lies at")) << range;
  }
}

TEST(Safetensors, RefusesShapesWhoseSizeOverflows) {
  for (const char* shape : {"[9223372036854775808]", "[4611686018427387904,2]",
                            "[4294967296,4294967296]", "[18446744073709551615]"}) {
    EXPECT_THAT(
        refusal(entry(std::string(R"("dtype":"F32","data_offsets":[0,8],"shape":)") + shape)),
        HasSubstr("'t' has a shape whose size overflows"))
        << shape;
  }
}

TEST(Safetensors, RefusesTensorsThatOverlapOrShareAName) {
  const auto part = [](const std::string& name, const std::string& range) {
    return "\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":)" + range + "}";
  };
  const std::string data(16, 0);
  EXPECT_EQ(refusal(file_of("{" + part("a", "[8,16]") + "," + part("b", "[0,8]") + "}", data)),
            "accepted");
  EXPECT_THAT(refusal(file_of("{" + part("a", "[4,12]") + "," + part("b", "[0,8]") + "}", data)),
              HasSubstr("'b' and 'a' overlap"));
  EXPECT_THAT(refusal(file_of("{" + part("a", "[0,8]") + "," + part("a", "[8,16]") + "}", data)),
              HasSubstr("'a' is there twice"));
}

}  // namespace
}  // namespace switchyard
