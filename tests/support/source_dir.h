// Where the committed files are that tests read: the checkout a test was built from, or the folder
// that the environment's SWITCHYARD_SOURCE_DIR names, for programs carried to another machine.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace switchyard {

inline std::filesystem::path source_dir() {
  const char* carried = std::getenv("SWITCHYARD_SOURCE_DIR");
  return carried != nullptr && *carried != '\0' ? carried : SWITCHYARD_SOURCE_DIR;
}

}  // namespace switchyard
