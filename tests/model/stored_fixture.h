// A tiny checkpoint of tests/fixtures/models, loaded on a backend, and what the reference computed
// from it in float32 (tests/oracle).
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/model.h"
#include "engine/weights/safetensors.h"
#include "tests/support/source_dir.h"

namespace switchyard {

class StoredFixture {
 public:
  using Tokens = std::vector<int32_t>;
  using Logits = std::vector<std::vector<float>>;  // per token, [vocab]

  static constexpr int kPromptLengths[] = {1, 2, 3, 63, 64, 65, 200, 1000};
  static constexpr int kAllLogitsLengths[] = {1, 2, 3, 65};  // prompts with every token's logits

  // `backend` must outlive it. A fixture is ours: what fails is a CHECK.
  StoredFixture(const std::string& name, Backend& backend) {
    const std::filesystem::path folder = source_dir() / "tests/fixtures/models" / name;
    const Result<ModelConfig> config = load_model_config(folder);
    CHECK_OK(config);
    Result<WeightStore> store = WeightStore::open(folder, backend);
    CHECK_OK(store);
    Result<std::unique_ptr<const Model>> model = Model::load(*config, *std::move(store));
    CHECK_OK(model);
    model_ = *std::move(model);

    std::ifstream facts(folder / "expected.json");
    facts_ = nlohmann::json::parse(facts);
    Result<MappedFile> mapped = MappedFile::open(folder / "expected.safetensors");
    CHECK_OK(mapped);
    Result<SafetensorsFile> expected = SafetensorsFile::open(*std::move(mapped));
    CHECK_OK(expected);
    expected_ = std::make_unique<SafetensorsFile>(*std::move(expected));
  }

  [[nodiscard]] const Model& model() const { return *model_; }
  [[nodiscard]] bool has_experts() const { return !facts_.at("moe_layers").empty(); }
  [[nodiscard]] const nlohmann::json& facts_of_prompt(int length) const {
    return facts_.at("prompts").at(std::to_string(length));
  }
  [[nodiscard]] Tokens prompt(int length) const { return facts_of_prompt(length).at("ids"); }
  // The standard deviation of the logits, which errors are measured in.
  [[nodiscard]] float logits_std() const { return facts_.at("logits_std"); }

  [[nodiscard]] Logits last_logits(int length) const {
    return stored("logits_last_" + std::to_string(length));
  }
  [[nodiscard]] Logits all_logits(int length) const {
    return stored("logits_all_" + std::to_string(length));
  }

 private:
  [[nodiscard]] Logits stored(const std::string& name) const {
    const StoredTensor& tensor = expected_->tensors().find(name)->second;
    const auto vocab = static_cast<size_t>(model_->config().vocab_size);
    const size_t row_bytes = vocab * sizeof(float);
    Logits rows(static_cast<size_t>(tensor.bytes) / row_bytes, std::vector<float>(vocab));
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(rows[i].data(), tensor.data + i * row_bytes, row_bytes);
    }
    return rows;
  }

  std::unique_ptr<const Model> model_;
  nlohmann::json facts_;
  std::unique_ptr<SafetensorsFile> expected_;
};

}  // namespace switchyard
