// PageWriter: builds Prometheus families, each line with the model's name, and where asked the same
// again under vLLM's name. Knows no metric.
#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node/histogram.h"

namespace switchyard {

class PageWriter {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
  using Type = prometheus::MetricType;
  struct Name {
    std::string_view ours;  // without prefix
    std::string_view help;
    std::string_view vllm;  // without prefix; empty: vLLM has none
  };

  PageWriter(std::string model_name, bool vllm_names)
      : model_name_(std::move(model_name)), vllm_names_(vllm_names) {}

  // Begins a family; the value methods add lines to it.
  void family(const Name& name, Type type);
  // A family of vLLM's that is none of ours under another name; dropped without vLLM's names.
  void vllm_family(std::string_view name, std::string_view help, Type type);

  void counter(double value, const Labels& labels = {});
  void counter(uint64_t value, const Labels& labels = {}) {
    counter(static_cast<double>(value), labels);
  }
  void gauge(double value, const Labels& labels = {});
  void histogram(const Histogram& histogram, const Labels& labels = {});

  // A family of one line.
  void one_counter(const Name& name, double value);
  void one_gauge(const Name& name, double value);
  void one_histogram(const Name& name, const Histogram& values);

  std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  using Fill = std::function<void(prometheus::ClientMetric&)>;
  void begin(std::string_view prefix, std::string_view name, std::string_view help, Type type);
  void each(const Labels& labels, const Fill& fill);

  const std::string model_name_;
  const bool vllm_names_;
  size_t current_ = 0;  // the last so many families get each line
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace switchyard
