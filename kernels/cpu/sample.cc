// Logits become tokens, one row at a time. Only what may be chosen is sorted: top_k takes its
// candidates by a bound from block maxima, top_p by lowering a bound until their mass suffices.
// The lists of candidates are host memory of this call, and small but for a flat distribution.
//
// A NaN or +infinity among the logits gives token -1: the row is broken, and drawing from what is
// left of it would hide that. -infinity is a token that may not be chosen.
#include "kernels/cpu/sample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/cpu/logits.h"
#include "kernels/cpu/philox.h"

namespace switchyard::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Row {
  float* logits = nullptr;
  int64_t vocabulary = 0;
  const SampleRow* rule = nullptr;
  const LogitEdit* edits = nullptr;
  std::vector<Candidate> candidates;
  std::vector<float> scratch;
};

float edited(float logit, const SampleRow& rule, const LogitEdit& edit) {
  if (edit.seen != 0 && rule.repetition_penalty != 1) {
    logit = logit > 0 ? logit / rule.repetition_penalty : logit * rule.repetition_penalty;
  }
  if (edit.output_count > 0) {
    logit -= rule.frequency_penalty * static_cast<float>(edit.output_count);
    logit -= rule.presence_penalty;
  }
  return logit + edit.bias;
}

// Applies the edits and returns the logits they replaced, in order.
std::vector<float> apply_edits(const Row& row) {
  std::vector<float> replaced;
  for (int32_t i = row.rule->edit_begin; i < row.rule->edit_end; ++i) {
    const LogitEdit& edit = row.edits[i];
    CHECK(edit.token >= 0 && edit.token < row.vocabulary);
    replaced.push_back(row.logits[edit.token]);
    row.logits[edit.token] = edited(row.logits[edit.token], *row.rule, edit);
  }
  return replaced;
}

void undo_edits(const Row& row, const std::vector<float>& replaced) {
  for (int32_t i = row.rule->edit_end; i-- > row.rule->edit_begin;) {
    row.logits[row.edits[i].token] = replaced[i - row.rule->edit_begin];
  }
}

double total_mass(const Row& row, const ExponentialRule& exponential) {
  std::array<float, kLogitChunk> weight;
  double total = 0;
  for (int64_t begin = 0; begin < row.vocabulary; begin += kLogitChunk) {
    total += exponentials(row.logits + begin, std::min(kLogitChunk, row.vocabulary - begin),
                          exponential, weight.data());
  }
  return total;
}

double mass_of(const Candidate& candidate, const ExponentialRule& exponential) {
  const double distance = static_cast<double>(candidate.logit) - exponential.largest;
  return std::exp(distance * exponential.inverse_temperature);
}

// How many of the sorted candidates make up `top_p` of `total`; none if all together do not.
std::optional<size_t> nucleus(const std::vector<Candidate>& candidates,
                              const ExponentialRule& exponential,
                              double wanted) {
  double mass = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    mass += mass_of(candidates[i], exponential);
    if (mass >= wanted) return i + 1;
  }
  return std::nullopt;
}

// The smallest set of most likely tokens with `top_p` of the mass, sorted.
void collect_nucleus(Row& row, const ExponentialRule& exponential) {
  const double wanted = total_mass(row, exponential) * row.rule->top_p;
  for (float nats = 4;; nats *= 1.5f) {
    const bool everything = nats > 200;  // beyond that a token's mass is zero in f32
    const float bound = exponential.largest - nats / exponential.inverse_temperature;
    const float least = std::numeric_limits<float>::lowest();
    collect_at_least(row.logits, row.vocabulary, everything ? least : std::max(bound, least),
                     row.candidates);
    // Sorting is worth it only once the mass suffices.
    double mass = 0;
    for (const Candidate& candidate : row.candidates) mass += mass_of(candidate, exponential);
    if (mass < wanted && !everything) continue;
    std::sort(row.candidates.begin(), row.candidates.end(), ranks_before);
    if (const auto kept = nucleus(row.candidates, exponential, wanted)) {
      row.candidates.resize(*kept);
    } else if (!everything) {
      continue;
    }
    return;
  }
}

double draw_uniform(const SampleRow& rule) {
  const auto words =
      philox({static_cast<uint32_t>(rule.position), 0, 0, 0}, {rule.seed_low, rule.seed_high});
  return uniform(words[0], words[1]);
}

int32_t draw_candidate(const Row& row, const ExponentialRule& exponential) {
  double total = 0;
  for (const Candidate& candidate : row.candidates) total += mass_of(candidate, exponential);
  const double target = draw_uniform(*row.rule) * total;
  double mass = 0;
  for (const Candidate& candidate : row.candidates) {
    mass += mass_of(candidate, exponential);
    if (mass > target) return candidate.token;
  }
  return row.candidates.back().token;
}

// Draws from all tokens in id order: first the chunk, then the token in it.
int32_t draw_any(const Row& row, const ExponentialRule& exponential) {
  std::array<float, kLogitChunk> weight;
  const double target = draw_uniform(*row.rule) * total_mass(row, exponential);
  double before = 0;
  int32_t last_possible = -1;
  for (int64_t begin = 0; begin < row.vocabulary; begin += kLogitChunk) {
    const int64_t count = std::min(kLogitChunk, row.vocabulary - begin);
    const double chunk = exponentials(row.logits + begin, count, exponential, weight.data());
    // The sum across lanes and the walk below round differently, so a target on the border may
    // find no token in its chunk: the next chunk's first possible token then takes it.
    double mass = before;
    for (int64_t i = 0; before + chunk > target && i < count; ++i) {
      mass += static_cast<double>(weight[i]);
      if (weight[i] > 0) last_possible = static_cast<int32_t>(begin + i);
      if (mass > target && weight[i] > 0) return last_possible;
    }
    before += chunk;
  }
  return last_possible;
}

int32_t largest_token(const Row& row, float largest) {
  return static_cast<int32_t>(std::find(row.logits, row.logits + row.vocabulary, largest) -
                              row.logits);
}

// From the edited logits.
int32_t choose(Row& row) {
  const SampleRow& rule = *row.rule;
  const LogitSummary summary = summarise(row.logits, row.vocabulary);
  if (summary.broken || summary.largest == -kInfinity) return -1;
  if (rule.temperature <= 0) return largest_token(row, summary.largest);

  const ExponentialRule exponential{.largest = summary.largest,
                                    .inverse_temperature = 1 / rule.temperature};
  const bool limited_k = rule.top_k > 0 && rule.top_k < row.vocabulary;
  const bool limited_p = rule.top_p < 1;
  if (limited_k) {
    collect_largest(row.logits, row.vocabulary, rule.top_k, row.scratch, row.candidates);
    if (limited_p) {
      double total = 0;
      for (const Candidate& candidate : row.candidates) total += mass_of(candidate, exponential);
      const auto kept = nucleus(row.candidates, exponential, total * rule.top_p);
      row.candidates.resize(kept.value_or(row.candidates.size()));
    }
  } else if (limited_p) {
    collect_nucleus(row, exponential);
  } else if (rule.min_p > 0) {
    // A bound with room for its own rounding; the exact comparison follows.
    const float nats = 0.01f - std::log(std::min(rule.min_p, 1.0f));
    const float room = 1e-5f * std::abs(summary.largest);
    const float bound = summary.largest - nats * rule.temperature - room;
    collect_at_least(row.logits, row.vocabulary,
                     std::max(bound, std::numeric_limits<float>::lowest()), row.candidates);
  } else {
    return draw_any(row, exponential);
  }
  // The largest logit has mass 1, so min_p compares masses.
  std::erase_if(row.candidates, [&](const Candidate& candidate) {
    return candidate.logit < summary.largest &&
           mass_of(candidate, exponential) < static_cast<double>(rule.min_p);
  });
  return draw_candidate(row, exponential);
}

void sample_row(const SampleArgs& args, int64_t index) {
  const int64_t vocabulary = args.logits.dim(1);
  const int64_t tops = args.top_token.dim(1);
  Row row{.logits = args.logits.f32() + index * vocabulary,
          .vocabulary = vocabulary,
          .rule = args.rows + index,
          .edits = args.edits,
          .candidates = {},
          .scratch = {}};
  const SampleRow& rule = *row.rule;
  CHECK(rule.edit_begin >= 0 && rule.edit_begin <= rule.edit_end);
  CHECK(rule.edit_end <= args.num_edits && rule.top_logprobs <= tops);

  int32_t* top_token = args.top_token.i32() + index * tops;
  float* top_logprob = args.top_logprob.f32() + index * tops;
  std::fill_n(top_token, tops, -1);
  std::fill_n(top_logprob, tops, 0.0f);
  float& logprob = args.logprob.f32()[index];
  logprob = 0;

  const std::vector<float> replaced = apply_edits(row);
  const int32_t token = choose(row);
  args.token.i32()[index] = token;
  if (token < 0 || (rule.want_logprob == 0 && rule.top_logprobs <= 0)) return;

  undo_edits(row, replaced);
  const float largest = summarise(row.logits, vocabulary).largest;
  const double normaliser =
      static_cast<double>(largest) + std::log(total_mass(row, {.largest = largest}));
  const auto log_probability = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - normaliser);
  };
  if (rule.want_logprob != 0) logprob = log_probability(row.logits[token]);
  collect_largest(row.logits, vocabulary, rule.top_logprobs, row.scratch, row.candidates);
  for (size_t i = 0; i < row.candidates.size(); ++i) {
    top_token[i] = row.candidates[i].token;
    top_logprob[i] = log_probability(row.candidates[i].logit);
  }
}

}  // namespace

void sample(ThreadPool& pool, const SampleArgs& args) {
  pool.parallel_for(args.logits.dim(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sample_row(args, i);
  });
}

}  // namespace switchyard::cpu
