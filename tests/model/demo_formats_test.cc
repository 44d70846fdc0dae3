// The demo model answers its held-out questions in every weight format, through the whole engine.
// Its card (deploy/demo-model/README.md) says that int4 loses nothing.
#include <gtest/gtest.h>

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/text/chat_template.h"
#include "engine/text/chat_template_files.h"
#include "kernels/make_backend.h"

namespace switchyard {
namespace {

// Of every task's questions, to be quick under a sanitizer too; those with a long past are for
// end_to_end/demo_model_test.py.
constexpr size_t kEvery = 4;
constexpr size_t kLongest = 400;  // bytes

size_t length_of(const nlohmann::ordered_json& messages) {
  size_t length = 0;
  for (const auto& message : messages) length += message.at("content").get<std::string>().size();
  return length;
}

class Text final : public TokenSink {
 public:
  void on_delta(AnswerDelta delta) override {
    std::lock_guard lock(mutex_);
    text_ += delta.text;
  }
  void on_end(EndOfAnswer end) override {
    std::lock_guard lock(mutex_);
    EXPECT_TRUE(end.status.ok()) << end.status.message();
    ended_ = true;
    changed_.notify_all();
  }
  std::string wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;    // guarded by mutex_
  bool ended_ = false;  // guarded by mutex_
};

struct Case {
  WeightPlan plan;
  double least_percent = 0;
};

std::string name_of_case(const testing::TestParamInfo<Case>& chosen) {
  const WeightPlan& plan = chosen.param.plan;
  return std::string(name_of(plan.weights)) + "_head_" + std::string(name_of(plan.head_choice())) +
         (plan.scales == ScaleChoice::kSearch ? "_search" : "");
}

class DemoModel : public testing::TestWithParam<Case> {};

TEST_P(DemoModel, AnswersItsHeldOutQuestions) {
  const std::filesystem::path folder =
      std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "deploy/demo-model";
  const auto backend = make_backend("cpu", {.threads = 2}).backend;
  const SteadyClock clock;
  EngineOptions options;
  options.max_batch_rows = 32;
  const Result<std::unique_ptr<Engine>> made =
      Engine::create({.folder = folder, .plan = GetParam().plan}, options, *backend, clock, {});
  ASSERT_TRUE(made.ok()) << made.status().message();
  Engine& engine = **made;
  const auto files = load_chat_template(folder);
  ASSERT_TRUE(files.ok() && files->has_value());
  const Result<ChatTemplate> chat = ChatTemplate::parse((*files)->source);
  ASSERT_TRUE(chat.ok()) << chat.status().message();

  std::ifstream file(folder / "eval_prompts.json");
  const auto prompts = nlohmann::ordered_json::parse(file);
  std::vector<std::pair<std::string, std::shared_ptr<Text>>> answers;  // wanted, given
  for (const auto& [task, questions] : prompts.items()) {
    for (size_t i = 0; i < questions.size(); i += kEvery) {
      if (length_of(questions[i].at("messages")) > kLongest) continue;
      const Result<std::string> text = chat->render({.messages = questions[i].at("messages"),
                                                     .tools = nullptr,
                                                     .kwargs = nullptr,
                                                     .bos_token = (*files)->bos_token,
                                                     .eos_token = (*files)->eos_token,
                                                     .now = {}});
      ASSERT_TRUE(text.ok()) << text.status().message();
      RequestFields fields;
      fields.id = engine.next_id();
      fields.prompt = *engine.tokenizer().encode(*text, {.add_special_tokens = false});
      fields.sampling.temperature = 0;
      fields.stop.max_new_tokens = 64;
      fields.arrival = clock.now();
      answers.emplace_back(questions[i].at("answer"), std::make_shared<Text>());
      fields.sink = answers.back().second;
      Result<Request> request = Request::make(std::move(fields), engine.request_limits());
      ASSERT_TRUE(request.ok()) << request.status().message();
      ASSERT_TRUE(engine.submit(*std::move(request)).ok());
    }
  }
  ASSERT_GT(answers.size(), 60U);
  double right = 0;
  for (const auto& [wanted, given] : answers) right += given->wait() == wanted ? 1 : 0;
  const double percent = 100 * right / static_cast<double>(answers.size());
  RecordProperty("percent", std::to_string(percent));
  EXPECT_GE(percent, GetParam().least_percent) << answers.size() << " questions";
}

INSTANTIATE_TEST_SUITE_P(Formats,
                         DemoModel,
                         testing::Values(Case{{.weights = WeightChoice::kBf16}, 99},
                                         Case{{.weights = WeightChoice::kFp8}, 97},
                                         Case{{.weights = WeightChoice::kInt8}, 99},
                                         Case{{.weights = WeightChoice::kInt4}, 97},
                                         Case{{.weights = WeightChoice::kInt4,
                                               .head = WeightChoice::kInt4,
                                               .scales = ScaleChoice::kSearch},
                                              97}),
                         name_of_case);

}  // namespace
}  // namespace switchyard
