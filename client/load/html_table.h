// Tables of an HTML page, escaped cell by cell.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace switchyard {

struct HtmlCell {
  std::string text;
  std::string small;  // below it, in small letters
  std::string kind;   // class: "text" (left, may wrap), "yes", "no"
  double bar = -1;    // 0 to 1: drawn below; negative: none
};

class HtmlTable {
 public:
  explicit HtmlTable(std::vector<std::string> heads) : heads_(std::move(heads)) {}
  // The first row says how the heads of its columns stand.
  void row(const std::vector<HtmlCell>& cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  // As a card that scrolls sideways where it is too wide.
  [[nodiscard]] std::string html() const;

 private:
  std::vector<std::string> heads_;
  std::string head_;
  std::string rows_;
};

}  // namespace switchyard
