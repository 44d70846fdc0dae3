// What is asked: that it is a function of specification and seed, that prefixes, turns, classes and
// faults are as asked for, and that a saved workload is asked again byte for byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "client/load/load_plan.h"
#include "client/load/prompt_file.h"
#include "client/load/synthetic.h"
#include "client/load/trace.h"
#include "client/load/words.h"
#include "client/load/workload_file.h"

namespace switchyard {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

const TokenSpace kSpace{.vocab_size = 500, .avoided = {0, 2, 7}};

LoadSpec spec_of(const json& kind, const json& more = json::object()) {
  json spec = {{"arrival", {{"rate", 10}}},
               {"requests", 200},
               {"classes", kind.is_array() ? kind : json::array({kind})}};
  spec.merge_patch(more);
  auto parsed = parse_load_spec(spec);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return *std::move(parsed);
}

std::vector<PlannedRequest> all_of(const LoadSpec& spec) {
  auto plan = make_plan(spec, kSpace, {});
  EXPECT_TRUE(plan.ok()) << plan.status();
  RequestStream stream(*plan, spec);
  std::vector<PlannedRequest> requests;
  while (auto planned = stream.next()) requests.push_back(*std::move(planned));
  return requests;
}

std::string saved(const LoadSpec& spec) {
  auto plan = make_plan(spec, kSpace, {});
  EXPECT_TRUE(plan.ok()) << plan.status();
  std::ostringstream out;
  const absl::Status status = save_plan(*std::move(plan), spec, out);
  EXPECT_TRUE(status.ok()) << status;
  return out.str();
}

std::vector<int32_t> tokens(const PlannedRequest& planned) {
  const auto& ids = planned.request.token_ids().ids();
  return {ids.begin(), ids.end()};
}

// A file that lives as long as the test.
class File {
 public:
  explicit File(const std::string& text) : path_(testing::TempDir() + "/load_workload_test") {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~File() { std::remove(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

const json kEverything = {{{"name", "chat"},
                           {"share", 3},
                           {"prompt_tokens", "lognormal:20:0.6:80"},
                           {"answer_tokens", "uniform:4:12"},
                           {"prefix_groups", 3},
                           {"prefix_tokens", 16},
                           {"turns", "uniform:1:4"},
                           {"think_ms", "exponential:50"},
                           {"priority", 5},
                           {"sampling", {{"temperature", 0.7}}}},
                          {{"name", "batch"},
                           {"prompt_tokens", 40},
                           {"faults",
                            {{"cancel", 0.2},
                             {"cancel_after_ms", "uniform:5:50"},
                             {"malformed", 0.2},
                             {"deadline", 0.2},
                             {"slow_reader", 0.2}}}}};

TEST(Workload, IsAFunctionOfSpecificationAndSeed) {
  const LoadSpec spec = spec_of(kEverything, {{"conversations_at_once", 5}});
  EXPECT_EQ(saved(spec), saved(spec));
  EXPECT_NE(saved(spec), saved(spec_of(kEverything, {{"conversations_at_once", 5}, {"seed", 2}})));
}

TEST(Workload, IsReplayedByteForByte) {
  const LoadSpec spec = spec_of(kEverything, {{"conversations_at_once", 5}, {"seed", 5}});
  const std::string first = saved(spec);
  const File file(first);
  LoadSpec replay = *parse_load_spec({{"replay", file.path()}});
  EXPECT_EQ(saved(replay), first);
  const auto before = all_of(spec);
  const auto after = all_of(replay);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].request.SerializeAsString(), after[i].request.SerializeAsString());
    EXPECT_EQ(before[i].at_ns, after[i].at_ns);
    EXPECT_EQ(before[i].fault.garbling, after[i].fault.garbling);
  }
}

TEST(Workload, GarbledRequestsAreUnreadableEachInItsWay) {
  std::map<Garbling, int> seen;
  const json malformed = {{{"name", "bad"}, {"faults", {{"malformed", 1}}}}};
  for (PlannedRequest& planned : all_of(spec_of(malformed, {{"requests", 200}}))) {
    ASSERT_EQ(planned.fault.kind, LoadFault::kMalformed);
    v1::GenerateRequest read;
    EXPECT_TRUE(read.ParseFromString(planned.request.SerializeAsString()));
    garble(planned.request, planned.fault.garbling);
    EXPECT_EQ(read.ParseFromString(planned.request.SerializeAsString()),
              planned.fault.garbling == Garbling::kNone);
    ++seen[planned.fault.garbling];
  }
  ASSERT_EQ(seen.size(), 5u);
  EXPECT_NEAR(seen[Garbling::kNone], 100, 30);  // these have a field out of its range
}

TEST(Workload, AGarblingThatIsNoneIsRefused) {
  for (const char* fault : {R"({"kind":"malformed","garbling":"upside_down"})",
                            R"({"kind":"cancel","garbling":"bad_tag"})"}) {
    const File file(words(R"({"switchyard_workload":1,"seed":1})", "\n",
                          R"({"class":"a","at_ns":0,"request":{"text":"x"},"fault":)", fault,
                          "}\n"));
    const auto plan = make_plan(*parse_load_spec({{"replay", file.path()}}), kSpace, {});
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr("garbling")) << fault;
  }
}

TEST(Workload, OfAClosedLoopIsReplayedByTheUsersOfTheDay) {
  const LoadSpec spec =
      spec_of(kEverything, {{"arrival", {{"rate", nullptr}, {"concurrency", 3}}}});
  const std::string first = saved(spec);
  EXPECT_THAT(first, testing::Not(HasSubstr("at_ns")));
  const File file(first);
  EXPECT_EQ(saved(*parse_load_spec({{"replay", file.path()}, {"arrival", {{"concurrency", 9}}}})),
            first);
  const auto no_pace = make_plan(*parse_load_spec({{"replay", file.path()}}), kSpace, {});
  EXPECT_THAT(std::string(no_pace.status().message()), HasSubstr("has no times"));
}

TEST(Workload, HasTheLengthsSharesAndFaultsAskedFor) {
  const LoadSpec spec = spec_of(kEverything, {{"requests", 6000}});
  std::map<std::string, int> firsts;
  std::map<LoadFault, int> faults;
  int batches = 0;
  for (const PlannedRequest& planned : all_of(spec)) {
    if (planned.turn == 0) ++firsts[planned.class_name];
    if (planned.class_name == "batch") {
      ++batches;
      ++faults[planned.fault.kind];
      EXPECT_EQ(tokens(planned).size(), 40u);
    } else {
      EXPECT_EQ(planned.request.priority(), 5);
      EXPECT_FLOAT_EQ(planned.request.sampling().temperature(), 0.7f);
      EXPECT_LE(planned.answer_tokens, 12);
      EXPECT_GE(planned.answer_tokens, 4);
      EXPECT_EQ(planned.request.stop().max_new_tokens(), planned.answer_tokens);
      EXPECT_TRUE(planned.request.stop().ignore_eos());
    }
    EXPECT_TRUE(planned.request.sampling().has_seed());
    for (const int32_t token : tokens(planned)) {
      EXPECT_TRUE(token >= 0 && token < 500 && token != 0 && token != 2 && token != 7);
    }
  }
  EXPECT_NEAR(static_cast<double>(firsts["chat"]) / firsts["batch"], 3, 0.3);
  for (const auto& [kind, count] : faults) EXPECT_NEAR(count / double(batches), 0.2, 0.04);
  EXPECT_EQ(faults.size(), 5u);
}

TEST(Workload, ConversationsOfAGroupShareTheirPrefixAndNothingElse) {
  const LoadSpec spec = spec_of(
      {{{"prompt_tokens", 20}, {"prefix_groups", 3}, {"prefix_tokens", 30}}}, {{"requests", 60}});
  std::set<std::vector<int32_t>> prefixes;
  std::set<std::vector<int32_t>> suffixes;
  for (const PlannedRequest& planned : all_of(spec)) {
    const auto ids = tokens(planned);
    ASSERT_EQ(ids.size(), 50u);
    prefixes.emplace(ids.begin(), ids.begin() + 30);
    suffixes.emplace(ids.begin() + 30, ids.end());
  }
  EXPECT_EQ(prefixes.size(), 3u);
  EXPECT_EQ(suffixes.size(), 60u);
}

TEST(Workload, ConversationsTakeTurns) {
  const LoadSpec spec = spec_of({{{"turns", 3}}}, {{"conversations_at_once", 2}, {"requests", 8}});
  std::vector<std::pair<int64_t, int32_t>> order;
  for (const PlannedRequest& planned : all_of(spec)) {
    order.emplace_back(planned.conversation, planned.turn);
  }
  using Pair = std::pair<int64_t, int32_t>;
  EXPECT_THAT(order, ElementsAre(Pair{0, 0}, Pair{1, 0}, Pair{0, 1}, Pair{1, 1}, Pair{0, 2},
                                 Pair{1, 2}, Pair{2, 0}, Pair{3, 0}));
}

TEST(Workload, EndsWithItsTime) {
  const LoadSpec spec = spec_of(
      {json::object()},
      {{"requests", nullptr}, {"duration_seconds", 3}, {"arrival", {{"gaps", "constant"}}}});
  EXPECT_EQ(all_of(spec).size(), 29u);  // every 0.1 s, before 3 s
}

const char kTrace[] =
    R"({"timestamp": 1000, "input_length": 20, "output_length": 5, "hash_ids": [11, 12, 13]}
{"timestamp": 3000, "input_length": 20, "output_length": 7, "hash_ids": [11, 14, 15]}
{"timestamp": 2000, "input_length": 16, "output_length": 6, "hash_ids": [11, 12]}
)";

std::vector<PlannedRequest> requests_of_trace(const TraceSpec& spec) {
  std::istringstream in(kTrace);
  auto lines = read_trace(in, 8, {});
  EXPECT_TRUE(lines.ok()) << lines.status();
  TraceSource source(*std::move(lines), {.spec = spec, .kind = {}, .space = kSpace, .options = {}});
  std::vector<PlannedRequest> requests;
  while (auto conversation = source.next()) requests.push_back(std::move(conversation->at(0)));
  return requests;
}

TEST(Trace, EqualIdsAreEqualBlocksAndTimesRunAtItsSpeed) {
  const auto requests = requests_of_trace({.file = "", .speed = 4, .block_tokens = 8});
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].at_ns, 0);
  EXPECT_EQ(requests[1].at_ns, 250'000'000);
  EXPECT_EQ(requests[2].at_ns, 500'000'000);
  EXPECT_EQ(requests[1].answer_tokens, 6);
  const auto first = tokens(requests[0]);
  const auto second = tokens(requests[1]);  // the line of 2000 ms
  const auto third = tokens(requests[2]);
  ASSERT_EQ(first.size(), 20u);
  ASSERT_EQ(second.size(), 16u);
  EXPECT_TRUE(std::equal(second.begin(), second.end(), first.begin()));
  EXPECT_TRUE(std::equal(third.begin(), third.begin() + 8, first.begin()));
  EXPECT_FALSE(std::equal(third.begin() + 8, third.begin() + 16, first.begin() + 8));
  EXPECT_EQ(tokens(requests_of_trace({.file = "", .block_tokens = 8})[0]), first);
}

TEST(Trace, IsCutForModelsOfShorterContext) {
  const auto requests = requests_of_trace(
      {.file = "", .block_tokens = 8, .most_prompt_tokens = 10, .most_answer_tokens = 3});
  for (const PlannedRequest& planned : requests) {
    EXPECT_EQ(tokens(planned).size(), 10u);
    EXPECT_EQ(planned.answer_tokens, 3);
  }
}

TEST(Trace, SaysWhichLineIsWrong) {
  const auto problem = [](const std::string& text) {
    std::istringstream in(text);
    const auto lines = read_trace(in, 8, {});
    return lines.ok() ? "none" : std::string(lines.status().message());
  };
  EXPECT_EQ(problem("{\"timestamp\": 1, \"input_length\": 9}"),
            "line 1: output_length: is missing");
  EXPECT_EQ(problem("{\"timestamp\": 1, \"input_length\": 9, \"output_length\": 0}"),
            "line 1: output_length: is 0, must be in [1, 4194304]");
  EXPECT_EQ(problem("{\"timestamp\": 1, \"input_length\": 9, \"output_length\": 1, "
                    "\"hash_ids\": [1, 2, 3]}"),
            "line 1: hash_ids: has 3 entries, but input_length is 2 blocks of 8");
  EXPECT_EQ(problem(""), "it holds no requests");
}

TEST(SavedWorkload, SaysWhichLineIsWrong) {
  const std::string header = "{\"switchyard_workload\": 1, \"seed\": 1}\n";
  const auto line = [](const std::string& more) {
    return R"({"class": "a", "request": {"text": "x"}, )" + more + "}\n";
  };
  const auto problem = [&](const std::string& lines) {
    std::istringstream in(lines);
    const auto workload = read_workload(in, {});
    return workload.ok() ? "none" : std::string(workload.status().message());
  };
  const std::string first = line(
      "\"at_ns\": 5, \"conversation\": 0, \"turn\": 0, "
      "\"last_turn\": false");
  EXPECT_EQ(problem(header + first), "none");
  EXPECT_THAT(problem(first), HasSubstr("line 1: switchyard_workload: is missing"));
  EXPECT_EQ(problem(header + first + line("\"at_ns\": 4, \"conversation\": 1, \"turn\": 0")),
            "line 3: at_ns: is before the line above");
  EXPECT_EQ(problem(header + first + line("\"conversation\": 1, \"turn\": 0")),
            "line 3: at_ns: either every request has it or none");
  EXPECT_EQ(problem(header + first + line("\"at_ns\": 6, \"conversation\": 0, \"turn\": 2")),
            "line 3: turn: is 2, its conversation is at 1");
  EXPECT_THAT(problem(header + "{\"class\": \"a\", \"request\": {\"txet\": \"x\"}}"),
              HasSubstr("line 2: request: is no GenerateRequest"));
  EXPECT_EQ(problem(header), "it holds no requests");
}

}  // namespace
}  // namespace switchyard
