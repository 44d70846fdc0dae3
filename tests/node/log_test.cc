#include "node/log.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(Log, WritesPlainValuesPlainly) {
  EXPECT_EQ(log_line("answered", {{"id", 7}, {"code", "OK"}}), "answered id=7 code=OK");
}

TEST(Log, QuotesWhatWouldBreakTheLine) {
  EXPECT_EQ(log_line("x", {{"label", "a b\n\"c\""}}), "x label=\"a b\\x0a\\\"c\\\"\"");
  EXPECT_EQ(log_line("x", {{"label", ""}}), "x label=\"\"");
  EXPECT_EQ(log_line("x", {{"label", "code=OK"}}), "x label=\"code=OK\"");
}

}  // namespace
}  // namespace switchyard
