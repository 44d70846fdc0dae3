// Where a model folder keeps its chat template, and what may be wrong with it.
#include "engine/text/chat_template_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace switchyard {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class ChatTemplateFilesTest : public testing::Test {
 protected:
  ChatTemplateFilesTest()
      : folder_(fs::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ChatTemplateFilesTest() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  fs::path folder_;
};

TEST_F(ChatTemplateFilesTest, ReadsTheTemplateAndTokensOfTheTokenizerConfig) {
  write("tokenizer_config.json",
        R"({"chat_template": "{{ x }}", "bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  const auto files = load_chat_template(folder_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  ASSERT_TRUE(files->has_value());
  EXPECT_EQ((*files)->source, "{{ x }}");
  EXPECT_EQ((*files)->bos_token, "<s>");
  EXPECT_EQ((*files)->eos_token, "</s>");
}

TEST_F(ChatTemplateFilesTest, TakesTheDefaultOfSeveralTemplates) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}],
            "bos_token": null})");
  const auto files = load_chat_template(folder_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ((*files)->source, "d");
  EXPECT_EQ((*files)->bos_token, "");
}

TEST_F(ChatTemplateFilesTest, FallsBackToTheFileBesideTheConfig) {
  write("tokenizer_config.json", R"({"bos_token": "<s>"})");
  write("chat_template.jinja", "from the file\n");
  const auto files = load_chat_template(folder_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ((*files)->source, "from the file\n");
  EXPECT_EQ((*files)->bos_token, "<s>");
}

TEST_F(ChatTemplateFilesTest, ReadsAnEmptyTemplateFile) {
  write("chat_template.jinja", "");
  const auto files = load_chat_template(folder_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ((*files)->source, "");
}

TEST_F(ChatTemplateFilesTest, HasNothingToSayOfAFolderWithoutATemplate) {
  EXPECT_FALSE(load_chat_template(folder_)->has_value());
  write("tokenizer_config.json", "{}");
  EXPECT_FALSE(load_chat_template(folder_)->has_value());
}

TEST_F(ChatTemplateFilesTest, SaysWhichFieldOfTheConfigIsWrong) {
  const auto message_for = [&](const std::string& config) {
    write("tokenizer_config.json", config);
    const auto files = load_chat_template(folder_);
    return files.ok() ? "ok" : files.status().message();
  };
  EXPECT_THAT(message_for("{"), HasSubstr("tokenizer_config.json: not a JSON object"));
  EXPECT_THAT(message_for("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(message_for(R"({"bos_token": 5})"), HasSubstr("bos_token must be"));
  EXPECT_THAT(message_for(R"({"eos_token": {"content": 5}})"), HasSubstr("eos_token must be"));
  EXPECT_THAT(message_for(R"({"chat_template": 5})"), HasSubstr("chat_template must be"));
  EXPECT_THAT(message_for(R"({"chat_template": [{"name": "x", "template": "y"}, 3]})"),
              HasSubstr("no template named default"));
}

}  // namespace
}  // namespace switchyard
