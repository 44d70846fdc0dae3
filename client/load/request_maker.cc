#include "client/load/request_maker.h"

#include <algorithm>

#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;

PlannedFault draw_fault(const FaultSpec& spec, Random& random) {
  double point = random.uniform();
  const auto falls_in = [&](double share) {
    point -= share;
    return point < 0;
  };
  if (falls_in(spec.cancel)) {
    return {.kind = LoadFault::kCancel,
            .wait_ns = spec.cancel_after_ms.draw(random) * kNsPerMs,
            .after_tokens = static_cast<int32_t>(spec.cancel_after_tokens.draw(random))};
  }
  if (falls_in(spec.deadline)) {
    return {.kind = LoadFault::kDeadline, .wait_ns = spec.deadline_ms.draw(random) * kNsPerMs};
  }
  if (falls_in(spec.slow_reader)) {
    return {.kind = LoadFault::kSlowReader, .wait_ns = spec.pause_ms.draw(random) * kNsPerMs};
  }
  if (falls_in(spec.malformed)) return {.kind = LoadFault::kMalformed};
  return {};
}

}  // namespace

int32_t TokenSpace::draw(Random& random) const {
  const auto count = static_cast<uint64_t>(vocab_size) - avoided.size();
  auto token = static_cast<int32_t>(random.below(count));
  for (const int32_t gap : avoided) {
    if (token >= gap) ++token;
  }
  return token;
}

void append_tokens(v1::TokenIds& ids, int64_t count, const TokenSpace& space, Random& random) {
  ids.mutable_ids()->Reserve(ids.ids_size() + static_cast<int>(count));
  for (int64_t i = 0; i < count; ++i) ids.add_ids(space.draw(random));
}

PlannedRequest make_request(const ClassSpec& kind,
                            RequestName name,
                            int32_t answer_tokens,
                            const MakerOptions& options) {
  Random random(options.seed, Draw::kRequest,
                {static_cast<uint64_t>(name.conversation), static_cast<uint64_t>(name.turn)});
  PlannedRequest planned;
  planned.class_name = kind.name;
  planned.conversation = name.conversation;
  planned.turn = name.turn;
  planned.think_ns = kind.think_ms.draw(random) * kNsPerMs;
  const auto drawn = static_cast<int32_t>(kind.answer_tokens.draw(random));
  planned.answer_tokens = answer_tokens >= 0 ? answer_tokens : drawn;

  v1::GenerateRequest& request = planned.request;
  request.set_request_id(words("load-", name.conversation, "-", name.turn));
  request.set_model(options.model);
  *request.mutable_sampling() = kind.sampling;
  const uint64_t seed = random.next();
  if (!kind.sampling.has_seed()) request.mutable_sampling()->set_seed(seed);
  request.mutable_stop()->set_max_new_tokens(planned.answer_tokens);
  if (kind.ignore_eos) request.mutable_stop()->set_ignore_eos(true);
  if (kind.priority != 0) request.set_priority(kind.priority);

  planned.fault = draw_fault(kind.faults, random);
  if (planned.fault.kind == LoadFault::kMalformed) planned.fault.garbling = spoil(request, random);
  return planned;
}

}  // namespace switchyard
