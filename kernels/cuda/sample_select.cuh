// Finding the token at which a sum over a row, taken in the order of likelihood, passes a given
// number, without sorting: by histograms of ever finer digits. All threads of a block call.
#pragma once

#include "kernels/cuda/sample_row.cuh"

namespace switchyard::cuda {

inline constexpr int kDrawThreads = 512;
inline constexpr int kDrawWarps = kDrawThreads / 32;
inline constexpr int kListed = 5120;  // candidates that are kept in shared memory

// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011); the CPU backend's numbers.
__device__ __forceinline__ double draw_uniform(const SampleRow& rule) {
  uint32_t c0 = static_cast<uint32_t>(rule.position);
  uint32_t c1 = 0, c2 = 0, c3 = 0;
  uint32_t k0 = rule.seed_low, k1 = rule.seed_high;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c0;
    const uint64_t product1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(product1);
    c3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return static_cast<double>(((uint64_t{c0} << 32) | c1) >> 11) * 0x1p-53;
}

// The sum that a draw must exceed: below `total`, unless that is 0.
__device__ __forceinline__ uint64_t drawn_limit(const SampleRow& rule, uint64_t total) {
  const auto limit = static_cast<uint64_t>(draw_uniform(rule) * static_cast<double>(total));
  return total > 0 && limit >= total ? total - 1 : limit;
}

// The sum that the nucleus must exceed: just below top_p of `total`.
__device__ __forceinline__ uint64_t nucleus_limit(const SampleRow& rule, uint64_t total) {
  const double wanted = ceil(static_cast<double>(total) * static_cast<double>(rule.top_p));
  return wanted > 1 ? static_cast<uint64_t>(wanted) - 1 : 0;
}

struct Total {
  uint64_t mass = 0;
  uint32_t count = 0;
};

// Sums per bin, in two words: shared memory adds only 32 bits at once.
struct Bins {
  uint32_t low[kBins], high[kBins], count[kBins];

  __device__ __forceinline__ void clear() {
    for (int i = threadIdx.x; i < kBins; i += kDrawThreads) low[i] = high[i] = count[i] = 0;
  }
  __device__ __forceinline__ void add(int bin, uint64_t mass) {
    const auto part = static_cast<uint32_t>(mass);
    const uint32_t carry = atomicAdd(&low[bin], part) > ~part ? 1 : 0;
    const uint32_t rest = static_cast<uint32_t>(mass >> 32) + carry;
    if (rest != 0) atomicAdd(&high[bin], rest);
    atomicAdd(&count[bin], 1u);
  }
  [[nodiscard]] __device__ __forceinline__ uint64_t mass(int bin) const {
    return (uint64_t{high[bin]} << 32) | low[bin];
  }
};

struct Candidate {
  float logit;
  int32_t token;
};

// Where a sum first exceeds a number: in `bin`, before which the sums are `before`.
struct Crossing {
  bool found;
  int bin;
  Total before, in_bin;
};

struct DrawMemory {
  Bins row;     // by distance from the largest logit
  Bins digits;  // of the step at hand
  Candidate listed[kListed];
  int listed_count;
  Total of_warp[kDrawWarps];
  Total whole;
  Crossing crossing;
  int32_t token;
};

// The sums of the threads before this one; `whole` gets all.
__device__ __forceinline__ Total sum_before(DrawMemory& memory, Total mine, Total& whole) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  Total through = mine;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t mass = __shfl_up_sync(~0u, through.mass, offset);
    const uint32_t count = __shfl_up_sync(~0u, through.count, offset);
    if (lane >= offset) {
      through.mass += mass;
      through.count += count;
    }
  }
  __syncthreads();
  if (lane == 31) memory.of_warp[warp] = through;
  __syncthreads();
  Total before = {through.mass - mine.mass, through.count - mine.count};
  whole = {};
#pragma unroll
  for (int w = 0; w < kDrawWarps; ++w) {
    const Total other = memory.of_warp[w];
    if (w < warp) {
      before.mass += other.mass;
      before.count += other.count;
    }
    whole.mass += other.mass;
    whole.count += other.count;
  }
  return before;
}

enum class By { kMass, kCount };

__device__ __forceinline__ uint64_t measure(const Total& total, By by) {
  return by == By::kMass ? total.mass : total.count;
}

// Where the sum over bins first exceeds `limit`.
__device__ __forceinline__ Crossing cross(DrawMemory& memory,
                                          const Bins& bins,
                                          By by,
                                          uint64_t limit) {
  constexpr int kEach = kBins / kDrawThreads;
  const int first = static_cast<int>(threadIdx.x) * kEach;
  Total mine;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    mine.mass += bins.mass(first + i);
    mine.count += bins.count[first + i];
  }
  if (threadIdx.x == 0) memory.crossing.found = false;
  Total whole;
  Total before = sum_before(memory, mine, whole);
  const uint64_t at = measure(before, by);
  if (at <= limit && limit < at + measure(mine, by)) {
    for (int i = 0; i < kEach; ++i) {
      const Total bin = {bins.mass(first + i), bins.count[first + i]};
      if (limit < measure(before, by) + measure(bin, by)) {
        memory.crossing = {true, first + i, before, bin};
        break;
      }
      before.mass += bin.mass;
      before.count += bin.count;
    }
  }
  __syncthreads();
  const Crossing crossing = memory.crossing;
  __syncthreads();
  return crossing;
}

// Rises as the logit falls.
__device__ __forceinline__ uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);  // of -0, too, those of 0
  return (bits >> 31) != 0 ? bits : ~bits & 0x7fffffffu;
}

// A row's candidates: those listed, or, where they are too many, all of the row.
struct Candidates {
  const SampleCall& call;
  const float* logits;
  const float* chunk_largest;
  const Masses& masses;
  DrawMemory& memory;
  bool listed;

  // use(logit, token) for all whose bin is at most `last_bin`, and some others.
  template <typename Use>
  __device__ __forceinline__ void each(int last_bin, const Use& use) const {
    if (listed) {
      for (int i = threadIdx.x; i < memory.listed_count; i += kDrawThreads) {
        use(memory.listed[i].logit, memory.listed[i].token);
      }
      return;
    }
    // A warp looks at 32 chunks' largest at once, and loads a few chunks together.
    constexpr int kTogether = 4;
    const int lane = threadIdx.x % 32;
    for (int first = static_cast<int>(threadIdx.x) / 32 * 32; first < call.chunks;
         first += kDrawThreads) {
      const int c = first + lane;
      const float largest = c < call.chunks ? __ldcg(chunk_largest + c) : -kInfinity;
      unsigned wanted = __ballot_sync(~0u, masses.bin(largest) <= last_bin);
      while (wanted != 0) {
        Chunk chunk[kTogether];
        int number[kTogether];
#pragma unroll
        for (int n = 0; n < kTogether; ++n) {
          // Beyond the last, nothing.
          number[n] = wanted != 0 ? first + __ffs(static_cast<int>(wanted)) - 1 : call.chunks;
          wanted &= wanted - 1;
          chunk[n].load(call, logits, number[n]);
        }
#pragma unroll
        for (int n = 0; n < kTogether; ++n) {
          if (number[n] == call.chunks) break;
#pragma unroll
          for (int i = 0; i < kChunkEach; ++i) {
            use(chunk[n].logit[i], Chunk::token(call, number[n], i, lane));
          }
        }
      }
    }
  }
};

// Brings the candidates of bins `first` to `last`, of which there are `count`, into shared memory
// if they fit.
__device__ __forceinline__ void list_bins(Candidates& from, int first, int last, uint32_t count) {
  if (count > kListed) return;
  DrawMemory& memory = from.memory;
  if (threadIdx.x == 0) memory.listed_count = 0;
  __syncthreads();
  from.each(last, [&](float logit, int token) {
    const int bin = from.masses.bin(logit);
    if (bin >= first && bin <= last) {
      memory.listed[atomicAdd(&memory.listed_count, 1)] = {logit, token};
    }
  });
  __syncthreads();
  from.listed = true;
}

// A place in the order of likelihood: the `tie`-th (from 0) token whose logit has `key`.
struct Place {
  bool found;
  bool listed;  // all of its bin, until something else is
  uint32_t key, ties, tie;
  int bin;
  uint64_t mass_through;  // of everything up to it
};

// The first token with which the sum exceeds `limit`.
__device__ __forceinline__ Place find(Candidates from, By by, uint64_t limit) {
  DrawMemory& memory = from.memory;
  Crossing crossing = cross(memory, memory.row, by, limit);
  if (!crossing.found) return {};
  const int bin = crossing.bin;
  Total before = crossing.before;
  if (!from.listed) list_bins(from, bin, bin, crossing.in_bin.count);
  uint32_t key = 0;
#pragma unroll 1
  for (int shift = 21; shift >= 0; shift = shift == 21 ? 10 : shift == 10 ? 0 : -1) {
    const int bits = shift == 0 ? 10 : 11;
    memory.digits.clear();
    __syncthreads();
    from.each(bin, [&](float logit, int) {
      if (from.masses.bin(logit) != bin) return;
      const uint32_t mine = key_of(logit);
      if (uint64_t{mine} >> (shift + bits) != key) return;
      memory.digits.add(static_cast<int>((mine >> shift) & ((1u << bits) - 1)),
                        from.masses.mass(logit));
    });
    __syncthreads();
    crossing = cross(memory, memory.digits, by, limit - measure(before, by));
    if (!crossing.found) return {};
    before.mass += crossing.before.mass;
    before.count += crossing.before.count;
    key = (key << bits) | static_cast<uint32_t>(crossing.bin);
  }
  const uint32_t ties = crossing.in_bin.count;
  const uint64_t each = crossing.in_bin.mass / ties;  // exactly: equal logits have equal masses
  const uint64_t rest = limit - measure(before, by);
  const auto tie = static_cast<uint32_t>(by == By::kCount ? rest : rest / each);
  return {true, from.listed, key, ties, tie, bin, before.mass + (uint64_t{tie} + 1) * each};
}

// The token at a place, the last one found.
__device__ __forceinline__ int32_t token_at(Candidates from, const Place& place) {
  from.listed = place.listed;
  DrawMemory& memory = from.memory;
  const auto is_there = [&](float logit) {
    return from.masses.bin(logit) == place.bin && key_of(logit) == place.key;
  };
  if (place.ties == 1) {
    from.each(place.bin, [&](float logit, int token) {
      if (is_there(logit)) memory.token = token;
    });
    __syncthreads();
    return memory.token;
  }
  static_assert(kMaxVocabulary <= 1 << 22);
  uint64_t before = 0;
  int token = 0;
#pragma unroll 1
  for (int shift = 11; shift >= 0; shift -= 11) {
    memory.digits.clear();
    __syncthreads();
    from.each(place.bin, [&](float logit, int mine) {
      if (is_there(logit) && mine >> (shift + 11) == token) {
        memory.digits.add((mine >> shift) & 2047, 0);
      }
    });
    __syncthreads();
    const Crossing crossing = cross(memory, memory.digits, By::kCount, place.tie - before);
    before += crossing.before.count;
    token = (token << 11) | crossing.bin;
  }
  return token;
}

}  // namespace switchyard::cuda
