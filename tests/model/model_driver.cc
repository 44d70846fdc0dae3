#include "tests/model/model_driver.h"

#include <algorithm>

namespace switchyard {
namespace {

constexpr int kArrays = 10;

Buffer allocate(Backend& backend, int64_t bytes) {
  Buffer buffer = backend.allocate(std::max<int64_t>(bytes, 64));
  CHECK(!buffer.empty());
  return buffer;
}

}  // namespace

ModelDriver::ModelDriver(const Model& model, Backend& backend, const DriverLimits& limits)
    : model_(model),
      backend_(backend),
      limits_(limits),
      blocks_per_sequence_((limits.sequence_tokens + limits.block_tokens - 1) /
                           limits.block_tokens),
      max_tokens_(limits.sequences * limits.sequence_tokens),
      kv_(allocate(
          backend,
          (1 + limits.sequences * blocks_per_sequence_) *
              model.cache_layout(limits.block_tokens, limits.kv_type).kv.bytes_per_block())),
      state_(
          allocate(backend,
                   (1 + limits.sequences) *
                       model.cache_layout(limits.block_tokens, limits.kv_type).bytes_per_slot())),
      scratch_memory_(allocate(backend, model.scratch_bytes(max_tokens_, max_tokens_))),
      logits_(allocate(backend, int64_t{4} * max_tokens_ * model.config().vocab_size)),
      caches_(model.cache_layout(limits.block_tokens, limits.kv_type),
              {.kv = kv_.data(),
               .blocks = 1 + limits.sequences * blocks_per_sequence_,
               .state = state_.data(),
               .state_slots = 1 + limits.sequences}),
      scratch_(scratch_memory_.data(), scratch_memory_.bytes()),
      length_(static_cast<size_t>(limits.sequences), 0) {
  for (int i = 0; i < kArrays; ++i) {
    arrays_.push_back(
        allocate(backend, int64_t{4} * (max_tokens_ + limits.sequences * blocks_per_sequence_)));
  }
}

// A sequence's blocks lie apart from each other and in falling order.
int32_t ModelDriver::block_of(int sequence, int position) const {
  const int index = blocks_per_sequence_ - 1 - position / limits_.block_tokens;
  return 1 + index * limits_.sequences + sequence;
}

const int32_t* ModelDriver::place(const std::vector<int32_t>& values, Buffer& buffer) {
  const auto bytes = static_cast<int64_t>(values.size() * sizeof(int32_t));
  CHECK(bytes <= buffer.bytes());
  backend_.upload(buffer.data(), values.data(), bytes);
  return static_cast<const int32_t*>(buffer.data());
}

void ModelDriver::prepare(const std::vector<DriverRow>& rows) {
  std::vector<int32_t> token, position, kv_slot, kv_len, block_id, state_slot, logit_token;
  std::vector<int32_t> row_start = {0};
  std::vector<int32_t> block_start = {0};
  for (const DriverRow& row : rows) {
    const int past = length_.at(static_cast<size_t>(row.sequence));
    const int length = past + static_cast<int>(row.tokens.size());
    CHECK(length <= limits_.sequence_tokens);
    for (int at = past; at < length; ++at) {
      token.push_back(row.tokens[static_cast<size_t>(at - past)]);
      position.push_back(at);
      kv_slot.push_back(block_of(row.sequence, at) * limits_.block_tokens +
                        at % limits_.block_tokens);
    }
    const auto end = static_cast<int32_t>(token.size());
    row_start.push_back(end);
    for (int i = row.logits; i > 0; --i) logit_token.push_back(end - i);
    for (int at = 0; at < length; at += limits_.block_tokens) {
      block_id.push_back(block_of(row.sequence, at));
    }
    block_start.push_back(static_cast<int32_t>(block_id.size()));
    kv_len.push_back(length);
    state_slot.push_back(1 + row.sequence);
  }
  batch_ = {.num_tokens = static_cast<int>(token.size()),
            .num_rows = static_cast<int>(rows.size()),
            .num_logits = static_cast<int>(logit_token.size()),
            .token = place(token, arrays_[0]),
            .position = place(position, arrays_[1]),
            .kv_slot = place(kv_slot, arrays_[2]),
            .row_start = place(row_start, arrays_[3]),
            .kv_len = place(kv_len, arrays_[4]),
            .block_start = place(block_start, arrays_[5]),
            .block_id = place(block_id, arrays_[6]),
            .state_slot = place(state_slot, arrays_[7]),
            .logit_token = place(logit_token, arrays_[8]),
            .live_tokens = place({static_cast<int32_t>(token.size())}, arrays_[9])};
}

void ModelDriver::forward() {
  experts_.clear();
  const bool computes = backend_.name() != "null";
  model_.forward({.backend = backend_,
                  .batch = batch_,
                  .caches = caches_,
                  .scratch = scratch_,
                  .previous_tokens = nullptr,
                  .logits = Tensor(logits_.data(), DType::kF32,
                                   {batch_.num_logits, model_.config().vocab_size}),
                  .on_routing = [&](int layer, const Routing& routing) {
                    if (!computes) return;
                    // What is enqueued behind may write over it, so it is brought at once.
                    std::vector<int32_t> chosen(static_cast<size_t>(routing.expert.elements()));
                    backend_.download(chosen.data(), routing.expert.data, routing.expert.bytes());
                    const int64_t top_k = routing.expert.dim(1);
                    for (auto from = chosen.begin(); from != chosen.end(); from += top_k) {
                      std::vector<int> row(from, from + top_k);
                      std::sort(row.begin(), row.end());
                      experts_[layer].push_back(std::move(row));
                    }
                  }});
}

void ModelDriver::grow(const std::vector<DriverRow>& rows) {
  for (const DriverRow& row : rows) {
    length_[static_cast<size_t>(row.sequence)] += static_cast<int>(row.tokens.size());
  }
}

ModelDriver::Logits ModelDriver::logits() {
  backend_.synchronize();
  const auto vocab = static_cast<size_t>(model_.config().vocab_size);
  Logits all(static_cast<size_t>(batch_.num_logits), std::vector<float>(vocab));
  const auto* from = static_cast<const float*>(logits_.data());
  for (std::vector<float>& row : all) {
    backend_.download(row.data(), from, static_cast<int64_t>(vocab * sizeof(float)));
    from += vocab;
  }
  return all;
}

ModelDriver::Logits ModelDriver::step(const std::vector<DriverRow>& rows) {
  prepare(rows);
  forward();
  grow(rows);
  return logits();
}

std::unique_ptr<Graph> ModelDriver::capture(const std::vector<DriverRow>& rows) {
  prepare(rows);
  backend_.begin_capture();
  model_.forward({.backend = backend_,
                  .batch = batch_,
                  .caches = caches_,
                  .scratch = scratch_,
                  .previous_tokens = nullptr,
                  .logits = Tensor(logits_.data(), DType::kF32,
                                   {batch_.num_logits, model_.config().vocab_size})});
  return backend_.end_capture();
}

ModelDriver::Logits ModelDriver::replay(Graph& graph, const std::vector<DriverRow>& rows) {
  prepare(rows);
  graph.replay();
  grow(rows);
  return logits();
}

}  // namespace switchyard
