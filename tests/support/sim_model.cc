// A model that needs no weights, in a cache like a real one's and alone.
#include "tests/support/sim_model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "kernels/base/check.h"

namespace switchyard {

namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
  hash ^= hash >> 33;
  hash *= 0xFF51AFD7ED558CCDu;
  return hash ^ (hash >> 29);
}

uint64_t kv_entry(int32_t token, int32_t position) {
  return mix(static_cast<uint64_t>(token) + 1, static_cast<uint64_t>(position));
}

template <typename IsForbidden>
int32_t draw(uint64_t hash, uint64_t seed, int32_t position, const IsForbidden& is_forbidden) {
  const uint64_t random = mix(mix(hash, seed), static_cast<uint64_t>(position));
  if (random % 1000 == 0) return -1;
  auto token = static_cast<int32_t>(random / 1000 % kSimVocabulary);
  while (is_forbidden(token)) token = (token + 1) % kSimVocabulary;
  return token;
}

std::string letter_of(int32_t token) { return std::string(1, static_cast<char>('a' + token % 4)); }

bool lags(int32_t token) { return token % 3 == 0; }

}  // namespace

SimDevice::SimDevice(SequenceMemorySize size)
    : block_tokens_(size.block_tokens),
      kv_(static_cast<size_t>(size.blocks) * static_cast<size_t>(size.block_tokens)),
      state_(static_cast<size_t>(size.state_slots)) {}

void SimDevice::launch(const HostBatch& batch) {
  launched_.push_back({.batch = batch, .block = {batch.block.begin(), batch.block.end()}});
}

std::vector<int32_t> SimDevice::collect() {
  CHECK(!launched_.empty());
  const Launched launched = std::move(launched_.front());
  launched_.pop_front();
  const RaggedBatch batch = launched.batch.on(launched.block.data());
  const BatchSampling sampling = launched.batch.sampling_on(launched.block.data());
  std::vector<uint64_t> hash_of_token(static_cast<size_t>(batch.num_tokens));
  for (int row = 0; row < batch.num_rows; ++row) {
    const int begin = batch.row_start[row];
    const int count = batch.row_start[row + 1] - begin;
    uint64_t& state = state_.at(static_cast<size_t>(batch.state_slot[row]));
    if (batch.position[begin] == 0) state = 0;
    for (int t = begin; t < begin + count; ++t) {
      const int32_t given = batch.token[t];
      const int32_t token = given >= 0 ? given : drawn_.at(static_cast<size_t>(-1 - given));
      kv_.at(static_cast<size_t>(batch.kv_slot[t])) = kv_entry(token, batch.position[t]);
      state = mix(state, static_cast<uint64_t>(token));
      hash_of_token[t] = state;
    }
    const int32_t* blocks = batch.block_id + batch.block_start[row];
    uint64_t hash = 0;
    for (int key = 0; key < batch.kv_len[row]; ++key) {
      hash = mix(hash, kv_.at(static_cast<size_t>(blocks[key / block_tokens_] * block_tokens_ +
                                                  key % block_tokens_)));
    }
    hash_of_token[begin + count - 1] ^= hash;
  }
  std::vector<int32_t> drawn;
  for (int l = 0; l < batch.num_logits; ++l) {
    const SampleRow& sample = sampling.rows[l];
    CHECK(sample.edit_end <= sampling.num_edits);
    const auto is_forbidden = [&](int32_t token) {
      return std::any_of(sampling.edits + sample.edit_begin, sampling.edits + sample.edit_end,
                         [&](const LogitEdit& edit) {
                           const bool repeats =
                               sample.frequency_penalty > 0 && edit.output_count >= kSimMostRepeats;
                           return edit.token == token && (std::isinf(edit.bias) || repeats);
                         });
    };
    const uint64_t seed = uint64_t{sample.seed_high} << 32 | sample.seed_low;
    drawn.push_back(draw(hash_of_token[batch.logit_token[l]], seed, sample.position, is_forbidden));
  }
  drawn_ = drawn;
  return drawn;
}

TextStream sim_text() {
  auto waiting = std::make_shared<std::string>();
  return {.push =
              [waiting](int32_t token) {
                *waiting += letter_of(token);
                return lags(token) ? std::string() : std::exchange(*waiting, {});
              },
          .finish = [waiting] { return std::exchange(*waiting, {}); }};
}

SimAnswer answer_alone(const Request& request) {
  const RequestFields& fields = request.fields();
  const StopCondition& stop = fields.stop;
  const auto is_end = [&](int32_t token) {
    return std::count(request.end_tokens().begin(), request.end_tokens().end(), token) > 0;
  };
  std::vector<int32_t> all = fields.prompt;
  SimAnswer answer;
  TextStream stream = sim_text();
  size_t exempt = 0;  // text of the first min_new_tokens
  while (true) {
    uint64_t state = 0;
    uint64_t hash = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      state = mix(state, static_cast<uint64_t>(all[i]));
      hash = mix(hash, kv_entry(all[i], static_cast<int32_t>(i)));
    }
    const auto made = static_cast<int>(answer.tokens.size());
    const auto is_forbidden = [&](int32_t token) {
      const auto repeats = std::count(answer.tokens.begin(), answer.tokens.end(), token);
      return (made < stop.min_new_tokens && is_end(token)) ||
             (fields.sampling.frequency_penalty > 0 && repeats >= kSimMostRepeats);
    };
    const int32_t token =
        draw(state ^ hash, fields.sampling.seed, static_cast<int32_t>(all.size()), is_forbidden);
    if (token < 0) return answer;
    all.push_back(token);
    answer.tokens.push_back(token);
    if (is_end(token)) {
      const auto& named = stop.stop_tokens;
      const bool by_caller = std::count(named.begin(), named.end(), token) > 0;
      answer.reason = by_caller ? FinishReason::kStopToken : FinishReason::kEos;
      answer.text += stream.finish();
      return answer;
    }
    answer.text += stream.push(token);
    if (made < stop.min_new_tokens) exempt = answer.text.size();
    for (size_t end = exempt + 1; end <= answer.text.size(); ++end) {
      size_t longest = 0;
      for (const std::string& each : stop.stop_strings) {
        const std::string_view searched(answer.text.data() + exempt, end - exempt);
        if (searched.ends_with(each)) longest = std::max(longest, each.size());
      }
      if (longest == 0) continue;
      answer.text.resize(stop.include_stop ? end : end - longest);
      answer.reason = FinishReason::kStopString;
      return answer;
    }
    const bool is_full = static_cast<int>(all.size()) >= request.context_tokens();
    if (is_full || made + 1 >= stop.max_new_tokens) {
      answer.reason = is_full ? FinishReason::kContextLimit : FinishReason::kMaxTokens;
      answer.text += stream.finish();
      return answer;
    }
  }
}

}  // namespace switchyard
