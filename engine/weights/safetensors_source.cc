// A checkpoint folder as a TensorSource: one safetensors file, or shards and their index.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "engine/weights/bounded_json.h"
#include "engine/weights/read_ahead.h"
#include "engine/weights/tensor_source.h"

namespace switchyard {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr JsonLimits kIndexLimits{.bytes = 64'000'000, .values = 1'000'000, .depth = 4};

using Index = std::map<std::string, std::string, std::less<>>;  // tensor -> shard

class SafetensorsSource final : public TensorSource {
 public:
  SafetensorsSource(std::filesystem::path folder,
                    std::vector<SafetensorsFile> files,
                    Reading reading)
      : folder_(std::move(folder)), files_(std::move(files)) {
    for (const SafetensorsFile& file : files_) {
      for (const auto& [name, tensor] : file.tensors()) {
        tensors_.emplace(name, Held{.tensor = &tensor, .file = &file.path()});
      }
    }
    if (reading == Reading::kAhead) read_ahead();
  }

  [[nodiscard]] bool has(std::string_view name) const override { return tensors_.contains(name); }

  Result<StoredTensor> take(const TensorRequest& request) override {
    const auto found = tensors_.find(request.name);
    if (found == tensors_.end()) {
      return Status(Code::kNotFound, folder_.string(), ": tensor '", request.name, "' is missing");
    }
    found->second.taken = true;
    if (ahead_) ahead_->reach(found->second.place);
    return *found->second.tensor;
  }

  [[nodiscard]] std::vector<std::string> untaken() const override {
    std::vector<std::string> names;
    for (const auto& [name, held] : tensors_) {
      if (!held.taken) names.push_back(name);
    }
    return names;
  }

  [[nodiscard]] int64_t taken_bytes() const override {
    int64_t bytes = 0;
    for (const auto& [name, held] : tensors_) bytes += held.taken ? held.tensor->bytes : 0;
    return bytes;
  }

  [[nodiscard]] std::string origin(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? folder_.string() : found->second.file->string();
  }

 private:
  struct Held {
    const StoredTensor* tensor;
    const std::filesystem::path* file;
    bool taken = false;
    size_t place = 0;  // in the order of reading ahead
  };

  void read_ahead() {
    std::vector<std::pair<const std::string*, Held*>> order;
    for (auto& [name, held] : tensors_) order.emplace_back(&name, &held);
    std::sort(order.begin(), order.end(),
              [](const auto& a, const auto& b) { return likely_before(*a.first, *b.first); });
    std::vector<Piece> pieces;
    for (const auto& [name, held] : order) {
      held->place = pieces.size();
      pieces.emplace_back(held->tensor->data, static_cast<size_t>(held->tensor->bytes));
    }
    ahead_.emplace(std::move(pieces));
  }

  const std::filesystem::path folder_;
  const std::vector<SafetensorsFile> files_;
  std::map<std::string, Held, std::less<>> tensors_;
  std::optional<ReadAhead> ahead_;  // last: reads what the files have mapped
};

Result<SafetensorsFile> open_file(const std::filesystem::path& path, const FileOpener& opener) {
  Result<MappedFile> mapped = opener(path);
  if (!mapped) return mapped.status();
  return SafetensorsFile::open(*std::move(mapped));
}

// A name that means a file of the folder itself, whatever the folder is.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

Result<Index> parse_index(std::string_view text) {
  Result<nlohmann::json> json = parse_bounded_json(text, kIndexLimits);
  if (!json) return json.status();
  const auto map = json->is_object() ? json->find("weight_map") : json->end();
  if (map == json->end() || !map->is_object()) {
    return Status(Code::kInvalidArgument, "weight_map is not an object");
  }
  Index index;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      return Status(Code::kInvalidArgument, "tensor '", tensor, "' is not in a file");
    }
    const auto& name = shard.get_ref<const std::string&>();
    if (!is_plain_file_name(name)) {
      return Status(Code::kInvalidArgument, "tensor '", tensor, "' is in '", name,
                    "', which is not a file of this folder");
    }
    index.emplace(tensor, name);
  }
  return index;
}

// Every tensor of the index is in the file it names, and no file has others.
Status check_against_index(const Index& index, const std::vector<SafetensorsFile>& files) {
  std::set<std::string_view> seen;
  for (const SafetensorsFile& file : files) {
    for (const auto& [name, tensor] : file.tensors()) {
      const auto listed = index.find(name);
      if (listed == index.end() || listed->second != file.path().filename()) {
        return {Code::kInvalidArgument,
                file.path().string(),
                ": tensor '",
                name,
                "' is in ",
                kIndexFile,
                listed == index.end() ? " not at all" : " in another file"};
      }
      seen.insert(name);
    }
  }
  for (const auto& [name, shard] : index) {
    if (!seen.contains(name)) {
      return {Code::kInvalidArgument,
              shard,
              ": has no tensor '",
              name,
              "', but ",
              kIndexFile,
              " says so"};
    }
  }
  return {};
}

Result<std::vector<SafetensorsFile>> open_shards(const MappedFile& index_file,
                                                 const FileOpener& opener) {
  const std::filesystem::path folder = index_file.path().parent_path();
  const auto bytes = index_file.bytes();
  Result<Index> index = parse_index({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!index) return index.status().within(index_file.path().string());

  std::set<std::string_view> names;
  for (const auto& [tensor, shard] : *index) names.insert(shard);
  std::vector<SafetensorsFile> files;
  for (const std::string_view name : names) {
    Result<SafetensorsFile> shard = open_file(folder / name, opener);
    if (!shard) return shard.status().within(kIndexFile);
    files.push_back(*std::move(shard));
  }
  if (Status status = check_against_index(*index, files); !status.ok()) {
    return status.within(folder.string());
  }
  return files;
}

}  // namespace

Result<std::unique_ptr<TensorSource>> open_safetensors(const std::filesystem::path& folder,
                                                       Reading reading,
                                                       const FileOpener& opener) {
  std::vector<SafetensorsFile> files;
  if (Result<SafetensorsFile> single = open_file(folder / kSingleFile, opener); single) {
    files.push_back(*std::move(single));
  } else if (single.status().code() != Code::kNotFound) {
    return single.status();
  } else {
    Result<MappedFile> index = opener(folder / kIndexFile);
    if (!index && index.status().code() == Code::kNotFound) {
      return Status(Code::kNotFound, folder.string(), ": has neither ", kSingleFile, " nor ",
                    kIndexFile);
    }
    if (!index) return index.status();
    Result<std::vector<SafetensorsFile>> shards = open_shards(*index, opener);
    if (!shards) return shards.status();
    files = *std::move(shards);
  }
  return std::unique_ptr<TensorSource>(
      std::make_unique<SafetensorsSource>(folder, std::move(files), reading));
}

}  // namespace switchyard
