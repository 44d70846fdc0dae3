// Pages of metrics, well and badly written.
#include "client/load/prometheus_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "client/load/failure.h"

namespace switchyard::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

std::vector<MetricSeries> parsed(std::string_view page) {
  auto all = parse_prometheus_text(page, {});
  EXPECT_TRUE(all.ok()) << all.status();
  return all.ok() ? *std::move(all) : std::vector<MetricSeries>();
}
std::string complaint(std::string_view page) {
  const auto all = parse_prometheus_text(page, {});
  return all.ok() ? "" : why(all.status());
}

TEST(PrometheusText, IsReadAsTheFormatDescribesIt) {
  const auto all = parsed(
      "# HELP a Something with {braces} and \"quotes\"\n"
      "# TYPE a counter\n"
      "a 1\n"
      "\n"
      "vllm:b{x=\"1\"} 2.5e3 1712345678901\n"
      "  c { le = \"+Inf\" , k=\"a\\\"b\\\\c\\nd\", } +Inf  \r\n"
      "d{} -0.5");
  ASSERT_THAT(all, SizeIs(4));
  EXPECT_EQ(all[0].name, "a");
  EXPECT_EQ(all[0].value, 1);
  EXPECT_EQ(all[1].name, "vllm:b");
  EXPECT_EQ(all[1].value, 2500);
  EXPECT_THAT(all[2].labels, ElementsAre(Pair("le", "+Inf"), Pair("k", "a\"b\\c\nd")));
  EXPECT_TRUE(std::isinf(all[2].value));
  EXPECT_EQ(all[2].label("le"), "+Inf");
  EXPECT_EQ(all[2].label("none"), "");
  EXPECT_EQ(all[3].value, -0.5);
  EXPECT_TRUE(std::isnan(parsed("e NaN")[0].value));
}

TEST(PrometheusText, NamesTheLineThatIsNone) {
  EXPECT_EQ(complaint("a 1\nb\n"), "line 2: no number where the value is due");
  EXPECT_EQ(complaint("1a 1"), "line 1: no name");
  EXPECT_EQ(complaint("a{x=1} 1"), "line 1: the value of a label is not quoted");
  EXPECT_EQ(complaint("a{x=\"1} 1"), "line 1: the value of a label is not quoted");
  EXPECT_EQ(complaint("a{x=\"1\" y=\"2\"} 1"), "line 1: labels do not end");
  EXPECT_EQ(complaint("a{x:y=\"1\"} 1"), "line 1: no = after the name of a label");
  EXPECT_EQ(complaint("a{=\"1\"} 1"), "line 1: no name of a label where one is due");
  EXPECT_EQ(complaint("a{x=\"\\t\"} 1"), "line 1: the value of a label is not quoted");
  EXPECT_EQ(complaint("a{x=\"1\""), "line 1: labels do not end");
  EXPECT_EQ(complaint("a 1x"), "line 1: no number where the value is due");
  EXPECT_EQ(complaint("a +-1"), "line 1: no number where the value is due");
  EXPECT_EQ(complaint("a 1 2.5"), "line 1: the time of the value is no whole number");
  EXPECT_EQ(complaint("a 1 2 3"), "line 1: more after the value than a time");
  EXPECT_EQ(complaint("<html>not found</html>"), "line 1: no name");
}

TEST(PrometheusText, HasLimits) {
  const MetricsPageLimits limits{.series = 2, .labels = 1};
  EXPECT_TRUE(parse_prometheus_text("a 1\nb 1\n", limits).ok());
  EXPECT_EQ(why(parse_prometheus_text("a 1\nb 1\nc 1", limits).status()),
            "line 3: more than 2 series");
  EXPECT_EQ(why(parse_prometheus_text("a{x=\"1\",y=\"2\"} 1", limits).status()),
            "line 1: too many labels");
}

}  // namespace
}  // namespace switchyard::test
