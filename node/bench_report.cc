#include "node/bench_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace switchyard {
namespace {

const char* name_of(const BenchCase& bench_case) {
  return bench_case.decode_steps > 0 ? "decode" : "prefill";
}

double quantile(std::vector<double> values, double share) {
  const auto rank = static_cast<long>(std::ceil(share * static_cast<double>(values.size()))) - 1;
  const auto at = values.begin() + std::max(rank, 0L);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double seconds_of(const BenchRun& run) {
  double sum = 0;
  for (const StepSample& step : run.steps) sum += step.seconds;
  return sum;
}

// The median step, which differs from the others by its lengths alone.
Cost step_cost(const BenchRun& counted) {
  std::vector<Cost> costs;
  for (const StepSample& step : counted.steps) costs.push_back(step.cost);
  const auto middle = costs.begin() + static_cast<long>(costs.size() / 2);
  std::ranges::nth_element(costs, middle, {}, &Cost::bytes);
  return *middle;
}

Cost prompt_cost(const BenchRun& counted) {
  Cost cost;
  for (const StepSample& step : counted.steps) cost += step.cost;
  return cost;
}

// Attention's cost depends on lengths that only the counted step tells.
std::vector<OpTimes> with_costs(std::vector<OpTimes> ops, const BenchRun& counted) {
  for (OpTimes& times : ops) {
    if (times.op != "attention") continue;
    times.cost = std::ranges::find(counted.last_ops, times.op, &OpCost::op)->cost;
  }
  return ops;
}

std::string percent(const std::optional<double>& share) {
  if (!share) return "-";
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f%%", *share * 100);
  return text;
}

void print_op(const OpTimes& times, const BenchMachine& machine) {
  const double calls = static_cast<double>(times.calls);
  char share[32] = "-";
  if (times.share) std::snprintf(share, sizeof(share), "%.1f", *times.share * 1e6);
  std::printf("  %-26s %6ld %10.2f %10.1f %10s %9.1f %9.2f %9s\n", times.name.c_str(),
              static_cast<long>(times.calls), times.alone / calls * 1e6, times.alone * 1e6, share,
              times.cost.bytes / times.alone / 1e9, times.cost.flops / times.alone / 1e12,
              percent(shares_of(times.cost, times.alone, machine).of_skeleton).c_str());
}

void print_ops(const BenchRow& row) {
  std::printf("  %-26s %6s %10s %10s %10s %9s %9s %9s\n", "kind of op", "calls", "us a call",
              "us alone", "us in step", "GB/s", "TFLOP/s", "skeleton");
  double alone = 0;
  for (const OpTimes& times : row.ops) {
    alone += times.alone;
    print_op(times, row.machine);
  }
  std::printf("  %-26s %6s %10s %10.1f %10.1f\n", "sum alone; the step", "", "", alone * 1e6,
              *row.replay_seconds * 1e6);
}

}  // namespace

BenchShares shares_of(const Cost& cost, double seconds, const BenchMachine& machine) {
  BenchShares shares;
  if (machine.read_bytes_per_second <= 0) return shares;
  const double reading = cost.bytes / machine.read_bytes_per_second;
  shares.of_floor = reading / seconds;
  if (machine.step_seconds > 0) {
    shares.of_skeleton =
        (static_cast<double>(cost.steps) * machine.step_seconds + reading) / seconds;
  }
  return shares;
}

std::optional<double> BenchRow::host_gap() const {
  if (!replay_seconds || bench_case.decode_steps == 0) return std::nullopt;
  return 1 - *replay_seconds / seconds;
}

BenchRow make_row(const BenchCase& bench_case,
                  const std::vector<BenchRun>& runs,
                  const BenchRun& counted,
                  const BenchMachine& machine) {
  BenchRow row;
  row.bench_case = bench_case;
  row.machine = machine;
  std::vector<double> times;
  if (bench_case.decode_steps > 0) {
    for (const StepSample& step : runs.front().steps) times.push_back(step.seconds);
    row.seconds = quantile(times, 0.5);
    row.cost = step_cost(counted);
    row.tokens_per_second = bench_case.rows / row.seconds;
  } else {
    for (size_t i = 1; i < runs.size(); ++i) times.push_back(seconds_of(runs[i]));
    row.seconds = *std::ranges::min_element(times);
    row.cost = prompt_cost(counted);
    row.tokens_per_second = bench_case.rows * bench_case.context / row.seconds;
  }
  row.first_seconds =
      bench_case.decode_steps > 0 ? runs.front().steps.front().seconds : seconds_of(runs.front());
  row.p95_seconds = quantile(times, 0.95);
  row.shares = shares_of(row.cost, row.seconds, machine);
  if (const auto& replayed = runs.back().replayed) {
    row.replay_seconds = replayed->seconds;
    row.distinct_experts = replayed->distinct_experts;
    row.ops = with_costs(replayed->ops, counted);
  }
  return row;
}

void print_header(const std::string& backend) {
  std::printf("backend %s\n", backend.c_str());
  std::printf("%-8s %5s %8s %10s %10s %11s %8s %8s %9s %8s %9s %9s %8s\n", "case", "batch",
              "context", "ms", "p95 ms", "tokens/s", "GB/s", "read", "TFLOP/s", "floor", "skeleton",
              "host gap", "experts");
}

void print_row(const BenchRow& row) {
  const std::string experts =
      row.distinct_experts > 0 ? nlohmann::json(std::round(row.distinct_experts * 10) / 10).dump()
                               : "-";
  std::printf("%-8s %5d %8d %10.4f %10.4f %11.1f %8.1f %8.1f %9.3f %8s %9s %9s %8s\n",
              name_of(row.bench_case), row.bench_case.rows, row.bench_case.context,
              row.seconds * 1e3, row.p95_seconds * 1e3, row.tokens_per_second,
              row.cost.bytes / row.seconds / 1e9, row.machine.read_bytes_per_second / 1e9,
              row.cost.flops / row.seconds / 1e12, percent(row.shares.of_floor).c_str(),
              percent(row.shares.of_skeleton).c_str(), percent(row.host_gap()).c_str(),
              experts.c_str());
  if (!row.ops.empty()) print_ops(row);
  std::fflush(stdout);
}

void print_skipped(const BenchCase& bench_case, const std::string& why) {
  std::printf("%-8s %5d %8d skipped: %s\n", name_of(bench_case), bench_case.rows,
              bench_case.context, why.c_str());
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const BenchCase& bench_case) {
  return {
      {"case", name_of(bench_case)}, {"batch", bench_case.rows}, {"context", bench_case.context}};
}

nlohmann::ordered_json to_json(const BenchRow& row) {
  nlohmann::ordered_json json = to_json(row.bench_case);
  json["seconds"] = row.seconds;
  json["p95_seconds"] = row.p95_seconds;
  json["first_seconds"] = row.first_seconds;
  json["tokens_per_second"] = row.tokens_per_second;
  json["floor_bytes"] = row.cost.bytes;
  json["flops"] = row.cost.flops;
  json["dependent_steps"] = row.cost.steps;
  json["read_bytes_per_second"] = row.machine.read_bytes_per_second;
  json["share_of_floor"] = row.shares.of_floor;
  if (row.shares.of_skeleton) json["share_of_skeleton"] = *row.shares.of_skeleton;
  if (row.distinct_experts > 0) json["distinct_experts"] = row.distinct_experts;
  if (row.replay_seconds) json["replay_seconds"] = *row.replay_seconds;
  if (row.host_gap()) json["host_gap"] = *row.host_gap();
  for (const OpTimes& times : row.ops) {
    nlohmann::ordered_json op = {{"op", times.name},
                                 {"calls", times.calls},
                                 {"seconds_alone", times.alone},
                                 {"floor_bytes", times.cost.bytes},
                                 {"flops", times.cost.flops}};
    if (times.share) op["seconds_in_step"] = *times.share;
    json["ops"].push_back(std::move(op));
  }
  return json;
}

}  // namespace switchyard
