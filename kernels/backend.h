// Backend: the ops a model is made of, cut where one step must wait for the whole of the one
// before. What an op does inside (one fused kernel, several, loops) is the backend's affair.
//
// Conventions. Activations are [tokens, features] in `activation_type()`. An op reads lengths,
// never a prefill or decode flag. No op allocates, waits, or lets the host read device data; what
// it needs beside its result is a tensor of its arguments named `*_work` or `normed`. Every op
// writes every element of its outputs, gives the same bits for a row whatever else is in the batch
// (CPU: always; CUDA: within one kernel choice), and is exact in f32 accumulation. The public
// functions check shapes (ours to get right: CHECK) and call the backend's `do_` twin. One thread
// at a time; on the engine that is the step thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/base/ragged.h"
#include "kernels/base/tensor.h"
#include "kernels/base/weight.h"

namespace switchyard {

// The input of a projection: x itself, or RMSNorm(x) * gain kept in `normed`.
//   normed[i] = x[j] * rsqrt(mean(x[j]^2) + epsilon) * gain,  j = gather ? gather[i] : i
struct NormedInput {
  Tensor x;       // [T, H]
  Tensor gain{};  // [H] f32; empty: no norm, `normed` unused, `gather` must be null
  float epsilon = 0;
  Tensor normed{};                  // [N, H] N = number of gathered rows, or T
  const int32_t* gather = nullptr;  // [N] device

  [[nodiscard]] const Tensor& rows() const { return gain.empty() ? x : normed; }
};

// out[t] = table[token[t]]; a token of -1-r stands for previous[r]. Where that is itself -1 (the
// row had nothing to sample) out[t] is zero.
struct EmbedArgs {
  Tensor out;                         // [T, H]
  Weight table;                       // [V, H] row-major f32, f16 or bf16
  const int32_t* previous = nullptr;  // [>= rows] tokens sampled by the last step
};

// out = input W^T (+ residual). `residual` may be the same memory as `out`.
struct LinearArgs {
  Tensor out;  // [N, rows]; activation type, or f32 for logits
  NormedInput input;
  Weight weight;
  Tensor residual{};  // [N, rows] or empty
};

// out = silu(input Wg^T) * (input Wu^T)
struct GatedLinearArgs {
  Tensor out;  // [T, F]
  NormedInput input;
  Weight gate;  // [F, H]
  Weight up;    // [F, H]
};

// The gated short convolution of LFM2. With [B | C | x] = input in_proj^T and u = B * x:
//   out[t] = C[t] * sum_k taps[k] * u[t - (K-1) + k]   per channel, taps[K-1] on the current token.
// u of tokens before this step comes from `state`, which is left holding the last K-1 columns of u.
// A row whose first position is 0 has zeros for its past, whatever the state held.
struct ShortConvArgs {
  Tensor out;  // [T, H]
  NormedInput input;
  Weight in_proj;         // [3H, H]
  Tensor taps;            // [H, K] f32
  Tensor state;           // [slots, K-1, H] f32, oldest column first
  Tensor projected_work;  // [T, 3H]
};

// One attention layer's cache: [blocks, kv_heads, block_tokens, head_dim] each.
struct KvCache {
  Tensor key;
  Tensor value;
};

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int block_tokens = 0;
};

// q, k, v projections; RMSNorm per head of q and k (if gains are given); half-split rotary
// embedding by inv_frequency; k and v stored at batch.kv_slot.
//   rope: pair (i, i + D/2), angle = position * inv_frequency[i]
struct QkvArgs {
  Tensor q;  // [T, heads * head_dim]
  NormedInput input;
  Weight q_proj, k_proj, v_proj;
  Tensor q_gain{}, k_gain{};  // [head_dim] f32 or empty
  float head_epsilon = 0;
  Tensor inv_frequency;  // [head_dim / 2] f32
  AttentionShape shape;
  KvCache cache;
  Tensor kv_work;  // [T, 2 * kv_heads * head_dim]
};

// Causal attention of q over the row's cached keys (this step's included):
// token i of a row with n new tokens sees keys [0, kv_len - n + i]. Keys older than the batch's
// tokens are there before the batch's arrays are uploaded.
// out = softmax(scale * q k^T) v, softmax in f32; query head h reads kv head h / (heads /
// kv_heads).
struct AttentionArgs {
  Tensor out;  // [T, heads * head_dim]
  Tensor q;    // [T, heads * head_dim]
  AttentionShape shape;
  KvCache cache;
  float scale = 1;
};

enum class RouterScore : uint8_t { kSigmoid };

struct RouterSpec {
  RouterScore score = RouterScore::kSigmoid;
  int top_k = 0;
  std::optional<float> renormalise_epsilon;  // weights / (sum + epsilon), if given
  float scale = 1;                           // multiplies the weights, last
};

// What the router decided. Also sorted by expert, so that no later op searches:
// entries order[expert_start[e] .. expert_start[e+1]) are the (t * K + k) that chose expert e,
// in rising order. Padding tokens choose none: their `expert` is -1, their weight 0, and `order`
// has none of their entries before expert_start[E].
struct Routing {
  Tensor expert;        // [T, K] i32, by falling selection score; ties go to the lower expert id
  Tensor weight;        // [T, K] f32
  Tensor order;         // [T * K] i32
  Tensor expert_start;  // [E + 1] i32
};

// score = sigmoid(input router^T); choose top_k of score + bias; weights come from the unbiased
// score.
struct RouteArgs {
  Routing routing;
  NormedInput input;
  Weight router;  // [E, H]
  Tensor bias{};  // [E] f32 or empty
  RouterSpec spec;
  const int32_t* live_tokens = nullptr;  // RaggedBatch's: those behind are padding; null: none are
};

// out[t*K+k] = silu(x[t] Wg_e^T) * (x[t] Wu_e^T),  e = routing.expert[t,k]; not of padding tokens,
// whose rows stay as they are.
struct ExpertUpArgs {
  Tensor out;  // [T * K, F]
  Tensor x;    // [T, H] already normed
  Routing routing;
  ExpertWeight gate, up;  // [F, H] each
};

// out[t] = residual[t] + sum_k routing.weight[t,k] * (hidden[t*K+k] Wd_e^T), k in order; not of
// padding tokens, whose rows stay as they are.
struct ExpertDownArgs {
  Tensor out;       // [T, H]; may be the same memory as residual
  Tensor hidden;    // [T * K, F]
  Tensor residual;  // [T, H]
  Routing routing;
  ExpertWeight down;   // [H, F]
  Tensor expert_work;  // [T * K, H]
};

// How one row's logits become a token. Plain values: rows never see each other.
// Order: edits (repetition, then frequency and presence, then bias) -> temperature -> top_k ->
// top_p
// -> min_p -> draw. temperature 0 takes the largest logit, the lower id on ties.
struct SampleRow {
  float temperature = 1;
  int32_t top_k = 0;  // 0: all
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint32_t seed_low = 0, seed_high = 0;
  int32_t position = 0;    // index of the token to draw; (seed, position) decides the randomness
  int32_t edit_begin = 0;  // into SampleArgs::edits
  int32_t edit_end = 0;
  int32_t top_logprobs = 0;  // how many of SampleArgs::top_* to fill
  int32_t want_logprob = 0;  // 1: fill `logprob`
};

// One vocabulary entry of one row that is not left as the model gave it.
struct LogitEdit {
  int32_t token = 0;
  int32_t seen = 0;          // 1: occurs in the prompt or the output (repetition penalty)
  int32_t output_count = 0;  // occurrences in the output (presence, frequency)
  float bias = 0;            // added last; -infinity forbids the token
};

// Log-probabilities are of the model's own distribution: log_softmax of the unedited logits.
struct SampleArgs {
  Tensor logits;                     // [L, V] f32; contents are used up
  const SampleRow* rows = nullptr;   // [L] device
  const LogitEdit* edits = nullptr;  // device
  int num_edits = 0;
  // [L] i32; -1 when every logit is -infinity, or the row is broken: holds a NaN or +infinity
  Tensor token;
  Tensor logprob;      // [L] f32; 0 if not wanted
  Tensor top_token;    // [L, N] i32, by falling probability; -1 beyond the row's top_logprobs
  Tensor top_logprob;  // [L, N] f32; 0 there
};

// Where a matrix's codes and scales go, in bytes, in the backend's own layout.
struct WeightBytes {
  int64_t data = 0;
  int64_t scale = 0;
};

// How the scales of a quantised format are chosen, per row and group.
//   kRound   the largest magnitude becomes the largest code
//   kSearch  of 32 scales from that one down to half of it, the one with the least squared error
// Either is rounded to what both f16 and bf16 represent (fp8: f32), then
// code = round-to-nearest-even(source / scale), clamped. A group of zeros has scale 0 and codes 0.
enum class ScaleChoice : uint8_t { kRound, kSearch };

// Writes the memory behind `out`, whose format, group and shape say what is wanted.
struct PackArgs {
  Weight out;                                // data and scale: memory of weight_bytes()
  Tensor source;                             // [rows, cols] f32, f16 or bf16, row-major, device
  ScaleChoice scales = ScaleChoice::kRound;  // of a quantised format
  // Of fp8 only: [rows, groups of a row] f32, device. Not empty: these are the scales, so that
  // numbers which were codes of theirs become the same codes.
  Tensor given_scale{};
};

// out ~ N(0, deviation^2), from (seed, index of the element) alone; a backend's own numbers.
struct NormalArgs {
  Tensor out;  // f32 or bf16
  uint64_t seed = 0;
  float deviation = 1;
};

// Device memory with an owner.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, int64_t bytes, std::function<void(void*)> release)
      : memory_(data, std::move(release)), bytes_(bytes) {}
  [[nodiscard]] void* data() const { return memory_.get(); }
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] bool empty() const { return memory_ == nullptr; }

 private:
  std::unique_ptr<void, std::function<void(void*)>> memory_{nullptr, [](void*) {}};
  int64_t bytes_ = 0;
};

// Host memory that device memory is copied to, one copy at a time, without waiting for more than
// that copy. Used by one thread; not longer than its backend.
class Readback {
 public:
  virtual ~Readback() = default;
  // Enqueues the copy of `bytes` from device memory, behind what was enqueued before.
  virtual void start(const void* device, int64_t bytes) = 0;
  // Waits for the started copy; its bytes hold until the next start().
  virtual std::span<const std::byte> wait() = 0;
};

// Ops recorded once and replayed at fixed addresses and counts.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void replay() = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual DType activation_type() const = 0;

  // Whether host memory is device memory: float weights are then used where they lie, row-major.
  [[nodiscard]] virtual bool reads_host_memory() const = 0;
  // Whether products with weights of this format can be computed.
  [[nodiscard]] virtual bool multiplies(WeightFormat format) const = 0;
  [[nodiscard]] virtual WeightBytes weight_bytes(WeightFormat format,
                                                 int group,
                                                 int64_t rows,
                                                 int64_t cols) const = 0;

  // Zero-filled memory, 64-byte aligned at least. Empty when there is not enough.
  virtual Buffer allocate(int64_t bytes) = 0;
  // What allocate() could give, about; the largest number if nobody knows.
  [[nodiscard]] virtual int64_t free_bytes() const = 0;
  // Host memory may be changed once upload returns; download waits for everything enqueued.
  virtual void upload(void* device, const void* host, int64_t bytes) = 0;
  virtual void download(void* host, const void* device, int64_t bytes) = 0;
  // Copies between places of device memory that do not overlap.
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;
  // Waits for everything enqueued.
  virtual void synchronize() = 0;
  // For copies of up to `bytes`. Null when there is not memory enough.
  virtual std::unique_ptr<Readback> make_readback(int64_t bytes) = 0;

  // Between begin and end, ops are recorded and not run.
  virtual void begin_capture() = 0;
  virtual std::unique_ptr<Graph> end_capture() = 0;

  void pack(const PackArgs& args);
  void fill_normal(const NormalArgs& args);
  void embed(const EmbedArgs& args, const RaggedBatch& batch);
  void linear(const LinearArgs& args);
  void gated_linear(const GatedLinearArgs& args);
  void short_conv(const ShortConvArgs& args, const RaggedBatch& batch);
  void qkv(const QkvArgs& args, const RaggedBatch& batch);
  void attention(const AttentionArgs& args, const RaggedBatch& batch);
  void route(const RouteArgs& args);
  void expert_up(const ExpertUpArgs& args);
  void expert_down(const ExpertDownArgs& args);
  void sample(const SampleArgs& args);

 protected:
  Backend() = default;

 private:
  virtual void do_pack(const PackArgs& args) = 0;
  virtual void do_fill_normal(const NormalArgs& args) = 0;
  virtual void do_embed(const EmbedArgs& args, const RaggedBatch& batch) = 0;
  virtual void do_linear(const LinearArgs& args) = 0;
  virtual void do_gated_linear(const GatedLinearArgs& args) = 0;
  virtual void do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) = 0;
  virtual void do_qkv(const QkvArgs& args, const RaggedBatch& batch) = 0;
  virtual void do_attention(const AttentionArgs& args, const RaggedBatch& batch) = 0;
  virtual void do_route(const RouteArgs& args) = 0;
  virtual void do_expert_up(const ExpertUpArgs& args) = 0;
  virtual void do_expert_down(const ExpertDownArgs& args) = 0;
  virtual void do_sample(const SampleArgs& args) = 0;
};

}  // namespace switchyard
