// Normal form C, on known cases and on input made to be slow.
#include "engine/text/normalize.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

std::string nfc(std::string_view text) { return normalized(Normalization::kNfc, text); }

TEST(Normalize, ComposesAndReorders) {
  EXPECT_EQ(nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(nfc("\u212B"), "\u00C5");                    // ANGSTROM SIGN
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");      // below (220) before above (230)
  EXPECT_EQ(nfc("\u1100\u1161\u11A8"), "\uAC01");        // Hangul
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");              // composition exclusion
  EXPECT_EQ(nfc("\u0344"), "\u0308\u0301");              // singleton with no base
  EXPECT_EQ(nfc("\U0001D15E"), "\U0001D157\U0001D165");  // beyond the BMP
  EXPECT_EQ(nfc("\u1E9B\u0323"), "\u1E9B\u0323");        // UAX #15, figure 6
  EXPECT_EQ(nfc("a\u0315\u0300\u05AE\u0300b"), "\u00E0\u05AE\u0300\u0315b");
}

TEST(Normalize, LeavesOtherTextAlone) {
  for (const std::string_view text :
       {"", "plain", "caf\u00E9", "\uFB01 \u2460", "你好", "\uFFFF"}) {
    EXPECT_EQ(nfc(text), text);
    EXPECT_EQ(normalized(Normalization::kNone, text), text);
  }
  EXPECT_EQ(nfc(std::string_view("\0\u0300", 3)), std::string_view("\0\u0300", 3));
  EXPECT_EQ(normalized(Normalization::kNone, "e\u0301"), "e\u0301");
}

TEST(Normalize, OrdersALongRunOfMarksInReasonableTime) {
  constexpr int kMarks = 200'000;
  std::string text = "q", above, below;
  for (int i = 0; i < kMarks; ++i) above += "\u0307";
  for (int i = 0; i < kMarks; ++i) below += "\u0323";
  EXPECT_EQ(nfc(text + above + below), text + below + above);
}

}  // namespace
}  // namespace switchyard
