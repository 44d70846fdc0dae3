// The demo model answers its held-out questions in every weight format, through the whole engine.
// Its card (deploy/demo-model/README.md) says that int4 loses nothing.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/run/engine_driver.h"
#include "tests/model/demo_questions.h"

namespace switchyard {
namespace {

// Of every task's questions, to be quick under a sanitizer too; those with a long past are for
// end_to_end/demo_model_test.py.
constexpr size_t kEvery = 4;
constexpr size_t kLongest = 400;  // bytes

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
  EngineOptions options;
  options.max_batch_rows = 32;
  RunningEngine running({.folder = demo_model(), .plan = GetParam().plan}, options,
                        make_backend("cpu", {.threads = 2}).backend);
  std::vector<std::pair<std::string, std::shared_ptr<Answer>>> answers;  // wanted, given
  for (DemoQuestion& question : demo_questions(running.engine->tokenizer(), kEvery, kLongest)) {
    RequestFields fields = running.fields(std::move(question.prompt), 64);
    fields.stop.ignore_eos = false;
    answers.emplace_back(question.answer, running.ask(std::move(fields)));
  }
  ASSERT_GT(answers.size(), 60U);
  double right = 0;
  for (const auto& [wanted, given] : answers) {
    const EndOfAnswer end = given->wait();
    EXPECT_TRUE(end.status.ok()) << end.status.message();
    right += given->text() == wanted ? 1 : 0;
  }
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
