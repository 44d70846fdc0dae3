// The account of one render. See the header.
#include "engine/text/template_runtime.h"

#include "engine/text/template_value.h"

namespace switchyard {

namespace {

template <typename Limit>
[[noreturn]] void limit_reached(std::string_view name, Limit limit, std::string_view unit) {
  throw TemplateError(TemplateError::Kind::kLimit, "the template reached its limit of ", limit, " ",
                      unit, " (", name, ")");
}

}  // namespace

TemplateCharge::~TemplateCharge() {
  if (runtime_ != nullptr) runtime_->live_bytes_ -= bytes_;
}

void TemplateCharge::grow(size_t bytes) {
  if (runtime_ == nullptr) return;
  runtime_->add_live(bytes);
  bytes_ += bytes;
}

TemplateRuntime::~TemplateRuntime() {
  for (const auto& made : namespaces_) made->clear();
}

void TemplateRuntime::step(int64_t count) {
  steps_ += count;
  if (steps_ > limits_.steps) limit_reached("steps", limits_.steps, "steps");
}

TemplateCharge TemplateRuntime::hold(size_t bytes) {
  TemplateCharge charge(*this);
  charge.grow(bytes);
  return charge;
}

void TemplateRuntime::add_live(size_t bytes) {
  if (bytes > limits_.live_bytes || live_bytes_ > limits_.live_bytes - bytes) {
    limit_reached("live_bytes", limits_.live_bytes, "bytes of values");
  }
  live_bytes_ += bytes;
}

void TemplateRuntime::admit_text(size_t bytes) const {
  if (bytes > limits_.output_bytes) {
    limit_reached("output_bytes", limits_.output_bytes, "bytes of text");
  }
}

void TemplateRuntime::admit_depth(int depth, std::string_view of) const {
  if (depth > limits_.depth) limit_reached("depth", limits_.depth, of);
}

void TemplateRuntime::enter() {
  // A level of the source takes a few nodes: statement, condition, call, filter, ...
  const int limit = limits_.depth * 16;
  if (++nesting_ <= limit) return;
  --nesting_;
  limit_reached("depth", limit, "nodes within nodes");
}

void TemplateRuntime::adopt(std::shared_ptr<TemplateNamespace> made) {
  namespaces_.push_back(std::move(made));
}

void TemplateTextBuilder::admit(size_t more) {
  runtime_.admit_text(more);
  runtime_.admit_text(text_.size() + more);
  charge_.grow(more);
  runtime_.touch(more);
}

void TemplateTextBuilder::append(std::string_view piece) {
  admit(piece.size());
  text_.append(piece);
}

void TemplateTextBuilder::append(size_t count, char character) {
  admit(count);
  text_.append(count, character);
}

}  // namespace switchyard
