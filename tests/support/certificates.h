// Certificates made up for a test: an authority and what it signs. Elliptic keys, so that making
// them takes no time; PEM.
#pragma once

#include <memory>
#include <string>

namespace switchyard {

struct MadeCertificate {
  std::string certificate;
  std::string key;
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);
  ~TestAuthority();

  [[nodiscard]] std::string certificate() const;
  // For 127.0.0.1, ::1 and `name`; valid for an hour, or if `hours` is below 0 until then.
  [[nodiscard]] MadeCertificate sign(const std::string& name, int hours = 1) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace switchyard
