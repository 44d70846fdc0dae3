#include "engine/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace switchyard {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json dense() {
  return json::parse(R"({
    "architectures": ["Lfm2ForCausalLM"], "vocab_size": 300, "hidden_size": 48,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    "intermediate_size": 100, "block_auto_adjust_ff_dim": false})");
}

json moe() {
  return json::parse(R"({
    "architectures": ["Lfm2MoeForCausalLM"], "vocab_size": 300, "hidden_size": 48,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1,
    "intermediate_size": 100, "moe_intermediate_size": 30, "num_experts": 8,
    "num_experts_per_tok": 2})");
}

json with(json config, const char* field, const json& value) {
  config[field] = value;
  return config;
}

json without(json config, const char* field) {
  config.erase(field);
  return config;
}

ModelConfig parsed(const json& config, const std::string& generation = "") {
  Result<ModelConfig> result = parse_model_config(config.dump(), generation);
  CHECK_OK(result);
  return *std::move(result);
}

std::string refusal(const json& config, const std::string& generation = "") {
  const Result<ModelConfig> result = parse_model_config(config.dump(), generation);
  return result ? "accepted" : result.status().message();
}

AttentionSpec attention_of(const ModelConfig& config) {
  return std::get<AttentionSpec>(config.layers.at(1).mixer);
}

int64_t width_of(const ModelConfig& config) {
  return std::get<GatedMlpSpec>(config.layers.front().feed_forward).width;
}

TEST(ModelConfig, ReadsLayersAndNamesTheirTensors) {
  const ModelConfig config = parsed(moe());
  EXPECT_EQ(config.architecture, "Lfm2MoeForCausalLM");
  ASSERT_EQ(config.layers.size(), 3u);
  EXPECT_EQ(attention_of(config).head_dim, 12);
  EXPECT_FLOAT_EQ(attention_of(config).scale, 1 / std::sqrt(12.0F));
  EXPECT_EQ(attention_of(config).out_proj, "model.layers.1.self_attn.out_proj.weight");
  EXPECT_EQ(std::get<ShortConvSpec>(config.layers[2].mixer).kernel, 3);
  EXPECT_EQ(width_of(config), 100);
  const auto& experts = std::get<MoeSpec>(config.layers[1].feed_forward);
  EXPECT_EQ(experts.experts, 8);
  EXPECT_EQ(experts.router.top_k, 2);
  EXPECT_EQ(experts.router.renormalise_epsilon, 1e-6F);
  EXPECT_EQ(experts.selection_bias, "model.layers.1.feed_forward.expert_bias");
  EXPECT_TRUE(config.tied_head());
}

TEST(ModelConfig, ReadsRouterSwitches) {
  json config = with(moe(), "norm_topk_prob", false);
  config["use_expert_bias"] = false;
  config["routed_scaling_factor"] = 2.5;
  const auto spec = std::get<MoeSpec>(parsed(config).layers[1].feed_forward);
  EXPECT_FALSE(spec.router.renormalise_epsilon.has_value());
  EXPECT_EQ(spec.selection_bias, "");
  EXPECT_EQ(spec.router.scale, 2.5F);
}

TEST(ModelConfig, KnowsEverySpellingOfTheRotaryBase) {
  EXPECT_EQ(attention_of(parsed(dense())).rope_theta, 1e6);
  EXPECT_EQ(attention_of(parsed(with(dense(), "theta", 1e4))).rope_theta, 1e4);
  EXPECT_EQ(attention_of(parsed(with(dense(), "rope_theta", 50000))).rope_theta, 5e4);
  const json parameters = {{"rope_type", "default"}, {"rope_theta", 5e6}};
  EXPECT_EQ(attention_of(parsed(with(with(dense(), "theta", 1e4), "rope_parameters", parameters)))
                .rope_theta,
            5e6);
  EXPECT_THAT(refusal(with(dense(), "rope_parameters", {{"rope_type", "yarn"}})),
              HasSubstr("rope_parameters"));
}

TEST(ModelConfig, AdjustsTheDenseWidthOnceAndOnlyWhenTold) {
  EXPECT_EQ(width_of(parsed(dense())), 100);
  // 100 -> 66 -> int(1.1 * 66) = 72 -> up to a multiple of 10
  json old = without(without(dense(), "intermediate_size"), "block_auto_adjust_ff_dim");
  old.update({{"block_ff_dim", 100}, {"block_multiple_of", 10}, {"block_ffn_dim_multiplier", 1.1}});
  EXPECT_EQ(width_of(parsed(old)), 80);
  EXPECT_EQ(width_of(parsed(with(old, "block_ffn_dim_multiplier", nullptr))), 66);
  EXPECT_EQ(width_of(parsed(
                with(with(dense(), "block_auto_adjust_ff_dim", true), "intermediate_size", 6656))),
            4608);
}

TEST(ModelConfig, TakesAttentionLayersFromIndicesWhenTypesAreMissing) {
  const json config = with(without(dense(), "layer_types"), "full_attn_idxs", {0, 3});
  const ModelConfig read = parsed(config);
  EXPECT_TRUE(std::holds_alternative<AttentionSpec>(read.layers[0].mixer));
  EXPECT_TRUE(std::holds_alternative<ShortConvSpec>(read.layers[1].mixer));
  EXPECT_TRUE(std::holds_alternative<AttentionSpec>(read.layers[3].mixer));
  EXPECT_THAT(refusal(with(config, "full_attn_idxs", {4})), HasSubstr("full_attn_idxs"));
  EXPECT_THAT(refusal(without(config, "full_attn_idxs")), HasSubstr("layer_types: is missing"));
}

TEST(ModelConfig, KnowsBothSpellingsOfATiedHead) {
  for (const char* field : {"tie_embedding", "tie_word_embeddings"}) {
    const ModelConfig untied = parsed(with(dense(), field, false));
    EXPECT_FALSE(untied.tied_head());
    EXPECT_EQ(untied.head, "lm_head.weight");
  }
}

TEST(ModelConfig, EndsAnswersAtTheTokensOfBothFiles) {
  json config = with(with(dense(), "eos_token_id", 7), "bos_token_id", 1);
  EXPECT_THAT(parsed(config).eos_tokens, ElementsAre(7));
  EXPECT_EQ(parsed(config).bos_token, 1);
  EXPECT_EQ(parsed(config).pad_token, std::nullopt);
  EXPECT_THAT(parsed(config, R"({"eos_token_id": [9, 7, 2]})").eos_tokens, ElementsAre(2, 7, 9));
  EXPECT_EQ(parsed(dense(), R"({"bos_token_id": 3})").bos_token, 3);
  EXPECT_THAT(refusal(with(dense(), "eos_token_id", 300)), HasSubstr("config.json: eos_token_id"));
  EXPECT_THAT(refusal(dense(), R"({"eos_token_id": -1})"),
              HasSubstr("generation_config.json: eos_token_id"));
}

TEST(ModelConfig, SaysWhatIsSupportedWhenAnArchitectureIsNot) {
  const std::string message = refusal(with(dense(), "architectures", {"LlamaForCausalLM"}));
  EXPECT_THAT(message, HasSubstr("LlamaForCausalLM"));
  EXPECT_THAT(message, HasSubstr("Lfm2MoeForCausalLM Lfm2ForCausalLM"));
  EXPECT_THAT(refusal(without(dense(), "architectures")), HasSubstr("supported are"));
}

TEST(ModelConfig, RefusesABiasInConvolutions) {
  EXPECT_THAT(refusal(with(dense(), "conv_bias", true)), HasSubstr("conv_bias"));
}

struct Hostile {
  const char* field;
  json value;
};

TEST(ModelConfig, NamesTheFieldOfEveryHostileValue) {
  const json huge = 18446744073709551615ULL;
  const std::vector<Hostile> cases = {
      {"vocab_size", 0},
      {"vocab_size", -1},
      {"vocab_size", huge},
      {"vocab_size", "300"},
      {"vocab_size", 300.5},
      {"hidden_size", 0},
      {"hidden_size", 1 << 30},
      {"num_hidden_layers", 0},
      {"num_hidden_layers", 1000000000},
      {"num_attention_heads", 0},
      {"num_attention_heads", 5},
      {"num_attention_heads", 16},  // head_dim 3
      {"num_key_value_heads", 3},
      {"num_key_value_heads", -2},
      {"head_dim", 64},
      {"layer_types", {"conv"}},
      {"layer_types", {"conv", "mamba", "conv"}},
      {"layer_types", "conv"},
      {"layer_types", {1, 2, 3}},
      {"intermediate_size", huge},
      {"intermediate_size", true},
      {"moe_intermediate_size", 0},
      {"num_experts", 0},
      {"num_experts", 1 << 20},
      {"num_experts_per_tok", 0},
      {"num_experts_per_tok", 9},
      {"num_dense_layers", -1},
      {"routed_scaling_factor", 0},
      {"routed_scaling_factor", 1e300},
      {"use_expert_bias", 1},
      {"norm_topk_prob", "yes"},
      {"conv_L_cache", 1},
      {"conv_L_cache", 1000},
      {"norm_eps", 0},
      {"norm_eps", -1e-5},
      {"norm_eps", "1e-5"},
      {"rope_theta", 0},
      {"rope_theta", 1e300},
      {"max_position_embeddings", 0},
      {"max_position_embeddings", huge},
      {"tie_word_embeddings", 1},
      {"dtype", "int8"},
      {"dtype", 5},
      {"eos_token_id", {1, "two"}},
      {"bos_token_id", 5000000000},
      {"architectures", "Lfm2MoeForCausalLM"},
  };
  for (const Hostile& hostile : cases) {
    EXPECT_THAT(refusal(with(moe(), hostile.field, hostile.value)), HasSubstr(hostile.field))
        << hostile.value;
  }
}

TEST(ModelConfig, NamesEveryMissingField) {
  for (const char* field : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                            "num_key_value_heads", "layer_types", "intermediate_size",
                            "moe_intermediate_size", "num_experts", "num_experts_per_tok"}) {
    EXPECT_THAT(refusal(without(moe(), field)), HasSubstr(std::string(field) + ": is missing"));
  }
}

TEST(ModelConfig, RefusesTextsThatAreNoObject) {
  for (const char* text : {"", "[]", "3", "{", "nullx", "{\"a\": }"}) {
    EXPECT_FALSE(parse_model_config(text, "").ok()) << text;
  }
  const std::string deep = std::string(100000, '[');
  EXPECT_THAT(parse_model_config(deep, "").status().message(), HasSubstr("nested deeper"));
  const std::string wide = "{\"a\": [0" + [] {
    std::string zeros;
    for (int i = 0; i < 100000; ++i) zeros += ",0";
    return zeros;
  }() + "]}";
  EXPECT_THAT(parse_model_config(wide, "").status().message(), HasSubstr("JSON values"));
}

TEST(ModelConfig, NamesTheFileThatIsNotThere) {
  EXPECT_THAT(load_model_config("/nonexistent/model").status().message(),
              HasSubstr("/nonexistent/model/config.json"));
}

struct Published {
  const char* folder;
  double total, active;  // billions
  int64_t kv_bytes;      // bf16, per token
};

TEST(ModelConfig, ReproducesTheSizesOfPublishedModels) {
  const Published models[] = {
      {"lfm2-350m", 0.354, 0.354, 12288},    {"lfm2-700m", 0.742, 0.742, 12288},
      {"lfm2-1.2b", 1.170, 1.170, 12288},    {"lfm2-2.6b", 2.569, 2.569, 16384},
      {"lfm2.5-2.6b", 2.697, 2.697, 16384},  {"lfm2-8b-a1b", 8.340, 1.558, 12288},
      {"lfm2.5-8b-a1b", 8.468, 1.686, 12288}};
  for (const Published& model : models) {
    const Result<ModelConfig> config = load_model_config(
        std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "deploy/configs" / model.folder);
    ASSERT_TRUE(config.ok()) << config.status().message();
    const ParameterCount count = count_parameters(*config);
    EXPECT_NEAR(static_cast<double>(count.total) / 1e9, model.total, 0.0006) << model.folder;
    EXPECT_NEAR(static_cast<double>(count.active) / 1e9, model.active, 0.0006) << model.folder;
    EXPECT_EQ(kv_bytes_per_token(*config, DType::kBf16), model.kv_bytes) << model.folder;
  }
}

TEST(ModelConfig, CountsTheStateOfConvolutionsInFloats) {
  const Result<ModelConfig> config = load_model_config(
      std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "deploy/configs/lfm2-8b-a1b");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(state_bytes_per_sequence(*config), 18 * 2 * 2048 * 4);
}

}  // namespace
}  // namespace switchyard
