// Drives a fuzz target without libFuzzer: every file of the corpus, then seeded mutations of them.
// Not a fuzzer: it keeps every target running in a build that has no clang.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void mutate(Bytes& bytes, const std::vector<Bytes>& corpus, std::mt19937_64& random) {
  // Mostly one edit: what is broken in many places fails at the first and shows nothing behind it.
  const int edits = random() % 4 != 0 ? 1 : 2 + static_cast<int>(random() % 7);
  for (int i = 0; i < edits; ++i) {
    const size_t at = bytes.empty() ? 0 : random() % bytes.size();
    switch (random() % 16) {
      case 0:
      case 1:
      case 2:
      case 3:  // flip a bit
        if (!bytes.empty()) bytes[at] ^= static_cast<uint8_t>(1u << (random() % 8));
        break;
      case 4:
      case 5:
      case 6:  // any byte
        if (!bytes.empty()) bytes[at] = static_cast<uint8_t>(random());
        break;
      case 7:  // cut
        if (!bytes.empty()) bytes.resize(at);
        break;
      case 8:
      case 9:
      case 10:
      case 11: {  // splice a piece of another input
        const Bytes& other = corpus[random() % corpus.size()];
        if (other.empty()) break;
        const size_t from = random() % other.size();
        const size_t count = std::min<size_t>(other.size() - from, 1 + random() % 32);
        bytes.insert(bytes.begin() + static_cast<long>(at), other.begin() + static_cast<long>(from),
                     other.begin() + static_cast<long>(from + count));
        break;
      }
      default:  // remove a piece
        if (!bytes.empty()) {
          const size_t count = std::min<size_t>(bytes.size() - at, 1 + random() % 16);
          bytes.erase(bytes.begin() + static_cast<long>(at),
                      bytes.begin() + static_cast<long>(at + count));
        }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  long mutations = 0;
  std::vector<Bytes> corpus;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--mutations" && i + 1 < argc) {
      mutations = std::atol(argv[++i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      if (entry.is_regular_file()) corpus.push_back(read_file(entry.path()));
    }
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "no corpus\n");
    return 1;
  }
  for (const Bytes& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::mt19937_64 random(20261121);
  for (long i = 0; i < mutations; ++i) {
    Bytes input = corpus[random() % corpus.size()];
    mutate(input, corpus, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu inputs, %ld mutations\n", corpus.size(), mutations);
  return 0;
}
