#include "engine/base/result.h"

#include <gtest/gtest.h>

#include <memory>

#include "engine/base/clock.h"

namespace switchyard {
namespace {

TEST(Status, IsOkWithoutWords) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), Code::kOk);
  EXPECT_FALSE(status.retry_after());
}

TEST(Status, NamesTheFieldAndTheLimit) {
  const Status status = Status::invalid("sampling.top_p", "is ", 1.5, ", limit ", 1);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "sampling.top_p");
  EXPECT_EQ(status.message(), "sampling.top_p: is 1.5, limit 1");
}

TEST(Status, SaysWhenToComeBack) {
  const Status status = Status::busy(Code::kResourceExhausted, "QUEUE_FULL",
                                     std::chrono::milliseconds(250), "queue holds ", 8);
  EXPECT_EQ(status.reason(), "QUEUE_FULL");
  EXPECT_EQ(status.retry_after(), std::chrono::milliseconds(250));
}

TEST(Status, KeepsItsCodeSeenFromFurtherOut) {
  const Status status = Status::invalid("layers", "is 0").within("config.json");
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "layers");
  EXPECT_EQ(status.message(), "config.json: layers: is 0");
}

TEST(Result, HoldsAValueOrSaysWhyNot) {
  Result<std::unique_ptr<int>> good = std::make_unique<int>(7);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(**good, 7);
  const std::unique_ptr<int> taken = std::move(good).value();
  EXPECT_EQ(*taken, 7);

  const Result<int> bad = Status::internal("disk on fire");
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.status().message(), "disk on fire");
}

TEST(ResultDeathTest, StopsWhoTakesAValueThatIsNotThere) {
  const Result<int> bad = Status::internal("disk on fire");
  EXPECT_DEATH((void)bad.value(), "disk on fire");
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  const TimePoint before = clock.now();
  clock.advance(std::chrono::milliseconds(5));
  EXPECT_EQ(clock.now() - before, std::chrono::milliseconds(5));
}

}  // namespace
}  // namespace switchyard
