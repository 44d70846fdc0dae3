// Who got what in a run: how requests ended, by error, by fault on purpose, by node, by session.
// The parts of figures.h that group records; no latencies but each node's first tokens.
#pragma once

#include <span>
#include <vector>

#include "client/load/figures.h"

namespace switchyard {

// Those that are counted; they point into the run's records.
using Judged = std::vector<const RequestRecord*>;

Outcomes outcomes_of(const Judged& requests);
std::vector<ErrorFigures> errors_of(const Judged& requests);
std::vector<NodeFigures> nodes_of(const Judged& requests);
TokenFigures tokens_of(const Judged& requests);
std::vector<EventFigures> events_of(const LoadRun& run);
std::vector<FaultFigures> faults_of(std::span<const RequestRecord> records);
SessionFigures sessions_of(std::span<const RequestRecord> records);

// Turned away before an answer began: RESOURCE_EXHAUSTED or UNAVAILABLE.
bool is_refusal(const RequestRecord& record);

// Tokens that arrived, whether the answer was whole or not.
int64_t arrived_tokens(const RequestRecord& record);

}  // namespace switchyard
