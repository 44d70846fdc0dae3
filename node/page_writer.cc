#include "node/page_writer.h"

#include <limits>

namespace switchyard {

using prometheus::ClientMetric;
using prometheus::MetricFamily;

void PageWriter::begin(std::string_view prefix,
                       std::string_view name,
                       std::string_view help,
                       Type type) {
  MetricFamily& family = families_.emplace_back();
  family.name = std::string(prefix) + std::string(name);
  family.help = help;
  family.type = type;
  ++current_;
}

void PageWriter::family(const Name& name, Type type) {
  current_ = 0;
  begin("switchyard_", name.ours, name.help, type);
  if (vllm_names_ && !name.vllm.empty()) begin("vllm:", name.vllm, name.help, type);
}

void PageWriter::vllm_family(std::string_view name, std::string_view help, Type type) {
  current_ = 0;
  if (vllm_names_) begin("vllm:", name, help, type);
}

void PageWriter::each(const Labels& labels, const Fill& fill) {
  for (size_t back = 1; back <= current_; ++back) {
    ClientMetric& metric = families_[families_.size() - back].metric.emplace_back();
    metric.label.reserve(1 + labels.size());
    metric.label.push_back({"model_name", model_name_});
    for (const auto& [name, value] : labels) {
      metric.label.push_back({std::string(name), std::string(value)});
    }
    fill(metric);
  }
}

void PageWriter::counter(double value, const Labels& labels) {
  each(labels, [value](ClientMetric& metric) { metric.counter.value = value; });
}

void PageWriter::gauge(double value, const Labels& labels) {
  each(labels, [value](ClientMetric& metric) { metric.gauge.value = value; });
}

void PageWriter::histogram(const Histogram& histogram, const Labels& labels) {
  ClientMetric::Histogram values;
  values.bucket.reserve(histogram.bounds().size() + 1);
  for (size_t i = 0; i <= histogram.bounds().size(); ++i) {
    values.sample_count += histogram.count(i);
    const bool last = i == histogram.bounds().size();
    const double bound = last ? std::numeric_limits<double>::infinity() : histogram.bounds()[i];
    values.bucket.push_back({values.sample_count, bound});
  }
  values.sample_sum = histogram.sum();
  each(labels, [&values](ClientMetric& metric) { metric.histogram = values; });
}

void PageWriter::one_counter(const Name& name, double value) {
  family(name, Type::Counter);
  counter(value);
}

void PageWriter::one_gauge(const Name& name, double value) {
  family(name, Type::Gauge);
  gauge(value);
}

void PageWriter::one_histogram(const Name& name, const Histogram& values) {
  family(name, Type::Histogram);
  histogram(values);
}

}  // namespace switchyard
