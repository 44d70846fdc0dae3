// Hostile templates and inputs: each ends soon, in an error that names the limit it reached.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "engine/text/chat_template.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

std::string repeated(std::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

struct HostileTemplate {
  std::string name;
  std::string source;
  std::string limit;  // that the error must name
};

void PrintTo(const HostileTemplate& hostile, std::ostream* out) { *out << hostile.name; }

class TemplateLimitsTest : public testing::TestWithParam<HostileTemplate> {};

TEST_P(TemplateLimitsTest, EndsSoonAndNamesTheLimit) {
  // The limits of serving, but for steps: sanitized builds are an order slower.
  TemplateLimits limits;
  limits.steps = 1'000'000;
  // Time of this process: the machine may be busy with others.
  const std::clock_t start = std::clock();
  const auto parsed = ChatTemplate::parse(GetParam().source, limits);
  Status status = parsed.status();
  if (parsed.ok()) {
    ChatTemplateInput input;
    input.messages = nlohmann::ordered_json::array();
    status = parsed->render(input).status();
  }
  const double took_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.message();
  EXPECT_THAT(status.message(), HasSubstr("(" + GetParam().limit + ")"));
  EXPECT_LT(took_seconds, 5);
}

const std::string kDoubling = "{% set ns = namespace(s='abcdefgh') %}{% for i in range(64) %}";

INSTANTIATE_TEST_SUITE_P(
    Hostile,
    TemplateLimitsTest,
    testing::Values(
        HostileTemplate{"RepeatText", "{{ 'a' * 10**9 }}", "output_bytes"},
        HostileTemplate{"RepeatTextPastInt", "{{ 'abc' * 9223372036854775807 }}", "output_bytes"},
        HostileTemplate{"RepeatList", "{{ [1] * 10**9 }}", "live_bytes"},
        HostileTemplate{"RepeatListPastInt", "{{ [1, 2] * 9223372036854775807 }}", "live_bytes"},
        HostileTemplate{"DoubleByPlus", kDoubling + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"DoubleByConcat", kDoubling + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"DoubleByJoin",
                        kDoubling + "{% set ns.s = [ns.s, ns.s]|join(ns.s) %}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"DoubleByReplace",
                        kDoubling + "{% set ns.s = ns.s|replace('a', ns.s) %}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"DoubleByFormat",
                        kDoubling + "{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"DoubleByMacro",
                        "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}" + kDoubling +
                            "{% set ns.s = m(ns.s) %}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"DoubleByList",
                        "{% set ns = namespace(s=[1]) %}{% for i in range(64) %}"
                        "{% set ns.s = ns.s + ns.s %}{% endfor %}",
                        "live_bytes"},
        HostileTemplate{"SharedTreePrinted",
                        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}"
                        "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
                        "steps"},
        HostileTemplate{"SharedTreeCompared",
                        "{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(60) %}"
                        "{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}"
                        "{{ ns.s == ns.t }}",
                        "steps"},
        HostileTemplate{"Width", "{{ '%1000000000d' % 1 }}", "output_bytes"},
        HostileTemplate{"Indent", "{{ 'a\nb'|indent(10**12) }}", "output_bytes"},
        HostileTemplate{"JsonIndent", "{{ [1]|tojson(indent=10**12) }}", "output_bytes"},
        HostileTemplate{"Batch", "{{ [1]|batch(10**12, 0)|list }}", "live_bytes"},
        HostileTemplate{"Output",
                        "{% set s = 'a' * 10**6 %}{% for i in range(100) %}{{ s }}{% endfor %}",
                        "output_bytes"},
        HostileTemplate{"NestedLoops",
                        "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}"
                        "{% endfor %}",
                        "steps"},
        HostileTemplate{"SearchLongTexts",
                        "{% set s = 'a' * 10**7 %}{% for a in range(100000) %}"
                        "{% if 'b' in s %}{% endif %}{% endfor %}",
                        "steps"},
        HostileTemplate{"SortLongTexts",
                        "{% set s = 'a' * 10**6 %}{% set t = 'a' * 10**6 %}"
                        "{{ ([s, t] * 10000)|sort(case_sensitive=true)|length }}",
                        "steps"},
        HostileTemplate{"Recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "depth"},
        HostileTemplate{"DeepList",
                        "{% set ns = namespace(s=[]) %}{% for i in range(100) %}"
                        "{% set ns.s = [ns.s] %}{% endfor %}",
                        "depth"},
        HostileTemplate{"DeepMethods",
                        "{% set ns = namespace(s={}) %}{% for i in range(100) %}"
                        "{% set ns.s = {'a': ns.s}.get %}{% endfor %}",
                        "depth"},
        HostileTemplate{"NestedMaps", "{{ 'a'|map(" + repeated("'map',", 5000) + "'upper')|list }}",
                        "depth"},
        HostileTemplate{"Brackets",
                        "{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}",
                        "depth"},
        HostileTemplate{"Lists", "{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}",
                        "depth"},
        HostileTemplate{"Nots", "{{ " + repeated("not ", 100000) + "1 }}", "depth"},
        HostileTemplate{"Signs", "{{ " + repeated("- ", 100000) + "1 }}", "depth"},
        HostileTemplate{"Sums", "{{ 1" + repeated("+1", 100000) + " }}", "depth"},
        HostileTemplate{"Attributes", "{{ a" + repeated(".b", 100000) + " }}", "depth"},
        HostileTemplate{"Filters", "{{ a" + repeated("|e", 100000) + " }}", "depth"},
        HostileTemplate{"Calls", "{{ a" + repeated("()", 100000) + " }}", "depth"},
        HostileTemplate{"Conditions", "{{ a" + repeated(" if a", 100000) + " }}", "depth"},
        HostileTemplate{"Elses", "{{ a" + repeated(" if a else a", 50000) + " }}", "depth"},
        HostileTemplate{"Targets",
                        "{% set " + repeated("(", 100000) + repeated(")", 100000) + " = 1 %}",
                        "depth"},
        HostileTemplate{"Ifs", repeated("{% if 1 %}", 100000), "depth"},
        HostileTemplate{"Source", std::string(2 << 20, 'a'), "source_bytes"}),
    [](const auto& instance) { return instance.param.name; });

TEST(TemplateLimits, CountTheMessagesAsLiveBytes) {
  ChatTemplateInput input;
  input.messages = nlohmann::ordered_json::array();
  for (int i = 0; i < 10000; ++i) input.messages.push_back(nlohmann::ordered_json::array());
  TemplateLimits limits;
  limits.live_bytes = 100'000;
  EXPECT_THAT(ChatTemplate::parse("x", limits)->render(input).status().message(),
              HasSubstr("(live_bytes)"));
}

TEST(TemplateLimits, RefuseMessagesThatNestTooDeep) {
  ChatTemplateInput input;
  input.messages = nlohmann::ordered_json::array();
  for (int i = 0; i < 100; ++i) {
    nlohmann::ordered_json outer = nlohmann::ordered_json::array();
    outer.push_back(std::move(input.messages));
    input.messages = std::move(outer);
  }
  EXPECT_THAT(ChatTemplate::parse("x")->render(input).status().message(), HasSubstr("(depth)"));
}

TEST(TemplateLimits, LeaveRoomForALongConversation) {
  ChatTemplateInput input;
  input.messages = nlohmann::ordered_json::array();
  for (int i = 0; i < 2000; ++i) {
    input.messages.push_back({{"role", "user"}, {"content", std::string(1000, 'x')}});
  }
  const auto rendered =
      ChatTemplate::parse(
          "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim }}{% endfor %}")
          ->render(input);
  ASSERT_TRUE(rendered.ok()) << rendered.status().message();
  EXPECT_EQ(rendered->size(), 2000u * 1006u);
}

}  // namespace
}  // namespace switchyard
