// Rows of the embedding table.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

void embed(const Stream& on, const EmbedArgs& args, const RaggedBatch& batch);

}  // namespace switchyard::cuda
