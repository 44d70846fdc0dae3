// Requests that are wrong on purpose: fields out of their range, and bytes that are no request at
// all. A node must refuse each by itself, wherever it stands in a conversation.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "client/load/random.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

// Bytes that make a serialized request unreadable.
enum class Garbling : uint8_t {
  kNone,
  kNotUtf8,    // text that is none
  kCutShort,   // a field that promises more bytes than there are
  kBadTag,     // a wire type that does not exist
  kOpenGroup,  // a group that never ends
};

std::string_view garbling_name(Garbling garbling);
std::optional<Garbling> garbling_of(std::string_view name);

// One mistake: a field out of its range, or, as often, the garbling that is returned and that
// garble() adds before the send.
Garbling spoil(v1::GenerateRequest& request, Random& random);

// The message stays as it is to its accessors; serialized it is what `garbling` says.
void garble(v1::GenerateRequest& request, Garbling garbling);

}  // namespace switchyard
