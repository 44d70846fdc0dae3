#include "client/load/html_table.h"

#include <algorithm>
#include <cstdio>

#include "client/load/svg_chart.h"

namespace switchyard {

void HtmlTable::row(const std::vector<HtmlCell>& cells) {
  for (size_t i = 0; rows_.empty() && i < heads_.size(); ++i) {
    const bool is_text = i < cells.size() && cells[i].kind == "text";
    head_ +=
        std::string(is_text ? "<th class=\"text\">" : "<th>") + escape_html(heads_[i]) + "</th>";
  }
  rows_ += "<tr>";
  for (const HtmlCell& cell : cells) {
    rows_ += cell.kind.empty() ? "<td>" : "<td class=\"" + escape_html(cell.kind) + "\">";
    rows_ += escape_html(cell.text);
    if (!cell.small.empty()) rows_ += "<small>" + escape_html(cell.small) + "</small>";
    if (cell.bar >= 0) {
      char bar[64];
      std::snprintf(bar, sizeof bar, "<span class=\"bar\" style=\"width:%.1f%%\"></span>",
                    std::min(cell.bar, 1.0) * 100);
      rows_ += bar;
    }
    rows_ += "</td>";
  }
  rows_ += "</tr>\n";
}

std::string HtmlTable::html() const {
  return "<div class=\"card scroll\"><table><thead><tr>" + head_ + "</tr></thead><tbody>\n" +
         rows_ + "</tbody></table></div>\n";
}

}  // namespace switchyard
