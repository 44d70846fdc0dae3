// Per-head norm and rotary embedding. A token's angles are computed once for all its heads.
#include "kernels/cpu/rope.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/cpu/norm.h"

namespace switchyard::cpu {
namespace {

constexpr int kPairs = 64;  // angles held at once

struct Angles {
  std::array<float, kPairs> cosine;
  std::array<float, kPairs> sine;
  int begin = 0;
  int end = 0;
};

void norm_heads(const RopeHeads& heads, const RopeArgs& args, int token) {
  if (heads.gain == nullptr) return;
  for (int h = 0; h < heads.count; ++h) {
    float* head = heads.heads + token * heads.stride + h * args.head_dim;
    rms_norm(head, heads.gain, args.epsilon, args.head_dim, head);
  }
}

void rotate_heads(const RopeHeads& heads, const RopeArgs& args, int token, const Angles& angles) {
  const int half = args.head_dim / 2;
  for (int h = 0; h < heads.count; ++h) {
    float* head = heads.heads + token * heads.stride + h * args.head_dim;
    for (int i = angles.begin; i < angles.end; ++i) {
      const float cosine = angles.cosine[i - angles.begin];
      const float sine = angles.sine[i - angles.begin];
      const float a = head[i];
      const float b = head[i + half];
      head[i] = a * cosine - b * sine;
      head[i + half] = b * cosine + a * sine;
    }
  }
}

}  // namespace

void norm_and_rope(ThreadPool& pool, const RopeArgs& args) {
  pool.parallel_for(args.tokens, 4, [&](int64_t first, int64_t last) {
    for (int token = static_cast<int>(first); token < last; ++token) {
      norm_heads(args.q, args, token);
      norm_heads(args.k, args, token);
      const auto position = static_cast<float>(args.position[token]);
      for (int begin = 0; begin < args.head_dim / 2; begin += kPairs) {
        Angles angles;
        angles.begin = begin;
        angles.end = std::min(begin + kPairs, args.head_dim / 2);
        for (int i = begin; i < angles.end; ++i) {
          const float angle = position * args.inv_frequency[i];
          angles.cosine[i - begin] = std::cos(angle);
          angles.sine[i - begin] = std::sin(angle);
        }
        rotate_heads(args.q, args, token, angles);
        rotate_heads(args.k, args, token, angles);
      }
    }
  });
}

}  // namespace switchyard::cpu
