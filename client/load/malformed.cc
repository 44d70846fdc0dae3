#include "client/load/malformed.h"

#include <array>
#include <string>

namespace switchyard {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"none", "not_utf8", "cut_short", "bad_tag",
                                                    "open_group"};
constexpr uint64_t kGarblings = kNames.size() - 1;

}  // namespace

std::string_view garbling_name(Garbling garbling) { return kNames[static_cast<size_t>(garbling)]; }

std::optional<Garbling> garbling_of(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Garbling>(i);
  }
  return std::nullopt;
}

Garbling spoil(v1::GenerateRequest& request, Random& random) {
  constexpr uint64_t kFields = 4;
  const uint64_t choice = random.below(kFields + kGarblings);
  switch (choice) {
    case 0:
      request.mutable_sampling()->set_temperature(-1);
      return Garbling::kNone;
    case 1:
      request.mutable_stop()->set_max_new_tokens(0);
      return Garbling::kNone;
    case 2:
      request.set_priority(1000);
      return Garbling::kNone;
    case 3:
      request.mutable_sampling()->set_top_p(2);
      return Garbling::kNone;
    default:
      return static_cast<Garbling>(choice - kFields + 1);
  }
}

void garble(v1::GenerateRequest& request, Garbling garbling) {
  // An unknown field is written as it is, behind the known ones, and one with the number of a known
  // field is that field to whoever reads it.
  google::protobuf::UnknownFieldSet& raw = *request.GetReflection()->MutableUnknownFields(&request);
  switch (garbling) {
    case Garbling::kNone:
      return;
    case Garbling::kNotUtf8:
      return raw.AddLengthDelimited(v1::GenerateRequest::kRequestIdFieldNumber, "\xff\xfe");
    case Garbling::kCutShort:
      return raw.AddLengthDelimited(v1::GenerateRequest::kSamplingFieldNumber, "\x0a\x7f");
    case Garbling::kBadTag:
      return raw.AddLengthDelimited(v1::GenerateRequest::kSamplingFieldNumber, "\x0f");
    case Garbling::kOpenGroup:
      return raw.AddLengthDelimited(v1::GenerateRequest::kStopFieldNumber, "\x0b");
  }
}

}  // namespace switchyard
