// LFM2 and LFM2-MoE (Liquid AI): from their config.json to layers and tensor names. No maths here.
// Source of the fields and names: huggingface/transformers, models/lfm2 and models/lfm2_moe.
#pragma once

#include "engine/model/arch/config_fields.h"
#include "engine/model/model_config.h"

namespace switchyard {

// Fill in everything but the architecture's name and the token ids. Mistakes are in
// fields.status().
ModelConfig read_lfm2(ConfigFields& fields);
ModelConfig read_lfm2_moe(ConfigFields& fields);

}  // namespace switchyard
