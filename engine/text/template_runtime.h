// The account of one render: steps taken, bytes alive, depth reached, and the namespaces it made.
// Every value and every loop goes through it, so that no template can outgrow its limits.
// One render, one thread. It must outlive every Value that was charged to it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/template_limits.h"

namespace switchyard {

class TemplateNamespace;
class TemplateRuntime;

// Bytes that a living value counts against the render. An empty one belongs to a template's
// constants, which outlive renders and were bounded by the source.
class TemplateCharge {
 public:
  TemplateCharge() = default;
  explicit TemplateCharge(TemplateRuntime& runtime) : runtime_(&runtime) {}
  TemplateCharge(TemplateCharge&& other) noexcept
      : runtime_(std::exchange(other.runtime_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  TemplateCharge& operator=(TemplateCharge&& other) noexcept {
    std::swap(runtime_, other.runtime_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~TemplateCharge();

  void grow(size_t bytes);  // throws at the limit, before anything is allocated

 private:
  TemplateRuntime* runtime_ = nullptr;
  size_t bytes_ = 0;
};

class TemplateRuntime {
 public:
  using Time = std::chrono::system_clock::time_point;

  TemplateRuntime(const TemplateLimits& limits, Time now) : limits_(limits), now_(now) {}
  ~TemplateRuntime();
  TemplateRuntime(const TemplateRuntime&) = delete;
  TemplateRuntime& operator=(const TemplateRuntime&) = delete;

  [[nodiscard]] const TemplateLimits& limits() const { return limits_; }
  [[nodiscard]] Time now() const { return now_; }

  void step(int64_t count = 1);
  void touch(size_t bytes) { step(static_cast<int64_t>(bytes / 256)); }

  [[nodiscard]] TemplateCharge hold(size_t bytes);
  // For a string about to be made: throws when it would be longer than the output may be.
  void admit_text(size_t bytes) const;
  void admit_depth(int depth, std::string_view of) const;

  // Held while one node, filter or macro evaluates inside of another: it bounds the stack.
  class Nesting {
   public:
    explicit Nesting(TemplateRuntime& runtime) : runtime_(runtime) { runtime_.enter(); }
    ~Nesting() { --runtime_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    TemplateRuntime& runtime_;
  };

  // Namespaces can hold themselves, so the render keeps them all and empties them at its end.
  void adopt(std::shared_ptr<TemplateNamespace> made);

 private:
  friend class TemplateCharge;
  void add_live(size_t bytes);
  void enter();

  TemplateLimits limits_;
  Time now_;
  int64_t steps_ = 0;
  int nesting_ = 0;
  size_t live_bytes_ = 0;
  std::vector<std::shared_ptr<TemplateNamespace>> namespaces_;
};

// A text that grows under the limits: the output, a captured block, a joined list.
class TemplateTextBuilder {
 public:
  explicit TemplateTextBuilder(TemplateRuntime& runtime) : runtime_(runtime), charge_(runtime) {}

  void append(std::string_view piece);
  void append(size_t count, char character);
  // The text and its charge leave together: the value made of it is counted once.
  [[nodiscard]] std::string take() && { return std::move(text_); }
  [[nodiscard]] TemplateCharge take_charge() && { return std::move(charge_); }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void admit(size_t more);

  TemplateRuntime& runtime_;
  TemplateCharge charge_;
  std::string text_;
};

}  // namespace switchyard
