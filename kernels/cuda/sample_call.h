// How sampling is cut into two steps, and what the first hands the second. Not for other folders.
//
//   scan_rows   all blocks read all logits: the largest of each row, whether it is broken, the log
//               of its mass if probabilities are wanted; applies the edits. Greedy rows end here.
//   draw_rows   rows that draw: masses by distance from the largest, or by piece of the row; then
//               one block of a row draws. Also lists the most likely tokens.
//
// A row is cut into chunks of kSampleChunk logits, and its chunks into as many blocks as keep the
// device busy; the last block of a row to finish (by Stream::counters) does what needs all of it.
// Masses are exp((logit - largest) / temperature) as integers, in units of 2^-40: their sums are
// exact in any order, so no row depends on how it was cut.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

inline constexpr int kSampleChunk = 256;
inline constexpr int kMaxVocabulary = 1 << 20;
inline constexpr int kMaxTops = 20;
// Distances from the largest logit, in steps of 1/64 up to 32 nats, beyond which a mass is zero.
inline constexpr int kBins = 2048;
inline constexpr float kBinsPerNat = 64;

// What one block found in its part of a row; `raw` is before edits.
struct SamplePart {
  float largest;
  int32_t token;
  int32_t broken;
  float raw_largest;
  float raw_mass;  // of exp(logit - raw_largest)
};

struct SampleSummary {
  double normaliser;  // log of the sum of exp(raw logit); if probabilities are wanted
  float largest;
  int32_t token;  // the first that has `largest`; -1: nothing can be chosen
};

struct SampleCall {
  float* logits;  // [rows, vocabulary]
  int vocabulary, chunks, rows;
  bool vectors;  // rows can be read 16 bytes at a time
  const SampleRow* rule;
  const LogitEdit* edits;
  int32_t* token;
  float* logprob;
  int32_t* top_token;  // [rows, tops]
  float* top_logprob;
  int tops;
  // Workspace.
  uint32_t* counter;       // [rows]
  SamplePart* part;        // [rows, blocks of scan_rows]
  SampleSummary* summary;  // [rows]
  uint64_t* chunk_mass;    // [rows, chunks]
  uint64_t* bin_mass;      // [rows, kBins]
  uint32_t* bin_count;     // [rows, kBins]
  float* chunk_largest;    // [rows, chunks]
  float* raw_largest;      // [rows, chunks]
  float* replaced;         // [edits] the logits that edits replaced
};

void scan_rows(const Stream& on, const SampleCall& call, int blocks);
void draw_rows(const Stream& on, const SampleCall& call);

}  // namespace switchyard::cuda
