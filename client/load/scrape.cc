#include "client/load/scrape.h"

#include <string>

namespace switchyard {

absl::StatusOr<std::vector<MetricSeries>> fetch_page(const HttpUrl& page,
                                                     const ScrapeOptions& options) {
  const absl::StatusOr<std::string> body = http_get(page, options.limits);
  if (!body.ok()) return body.status();
  return parse_prometheus_text(*body, options.page_limits);
}

}  // namespace switchyard
