#include "node/credentials.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <system_error>

#include "node/certificate.h"
#include "node/config.h"
#include "node/gate.h"
#include "node/log.h"

namespace switchyard {
namespace {

constexpr size_t kMostFileBytes = size_t{1} << 20;

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Result<std::string> read_small_file(std::string_view flag, const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return Status::invalid(flag, path.string(), " is a folder");
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Status::invalid(flag, "cannot open ", path.string(), ": ",
                           std::generic_category().message(errno));
  }
  std::string contents(kMostFileBytes + 1, '\0');
  file.read(contents.data(), static_cast<std::streamsize>(contents.size()));
  if (file.bad()) return Status::invalid(flag, "cannot read ", path.string());
  contents.resize(static_cast<size_t>(file.gcount()));
  if (contents.size() > kMostFileBytes) {
    return Status::invalid(flag, path.string(), " has more than ", kMostFileBytes, " bytes");
  }
  if (contents.find('\0') != std::string::npos) {
    return Status::invalid(flag, path.string(), " is no text");
  }
  return contents;
}

Result<std::unique_ptr<Credentials>> Credentials::load(const Config& config, Surroundings around) {
  std::unique_ptr<Credentials> made(new Credentials(around));
  Credentials* const raw = made.get();
  if (!config.tls_cert.empty()) {
    Watched& certificate = made->watched_.emplace_back();
    certificate.name = ReloadedFile::kCertificate;
    certificate.files = {{"--tls-cert", config.tls_cert}, {"--tls-key", config.tls_key}};
    if (!config.tls_client_ca.empty()) {
      certificate.files.emplace_back("--tls-client-ca", config.tls_client_ca);
    }
    certificate.apply = [raw](auto contents) {
      return raw->apply_certificate(std::move(contents));
    };
  }
  if (!config.tokens_file.empty()) {
    Watched& tokens = made->watched_.emplace_back();
    tokens.name = ReloadedFile::kTokens;
    tokens.files = {{"--tokens-file", config.tokens_file}};
    tokens.apply = [raw](const auto& contents) { return raw->apply_tokens(contents); };
  }
  for (Watched& watched : made->watched_) {
    if (const auto first = made->look(watched); !first.ok()) return first.status();
  }
  if (!made->watched_.empty()) {
    made->watcher_ =
        std::thread([raw, interval = config.reload_interval] { raw->watch(interval); });
  }
  return made;
}

Credentials::~Credentials() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_watching_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

Result<Credentials::Look> Credentials::look(Watched& watched) {
  std::vector<std::string> contents;
  for (const auto& [flag, path] : watched.files) {
    Result<std::string> read = read_small_file(flag, path);
    if (!read.ok()) {
      if (read.status().message() == watched.error) return Look::kUnchanged;
      watched.error = read.status().message();
      return read.status();
    }
    contents.push_back(std::move(*read));
  }
  watched.error.clear();
  if (contents == watched.contents) return Look::kUnchanged;
  watched.contents = contents;
  if (Status status = watched.apply(std::move(contents)); !status.ok()) return status;
  return Look::kChanged;
}

Status Credentials::apply_certificate(std::vector<std::string> contents) {
  CertificateFiles files{
      .chain = std::move(contents[0]), .key = std::move(contents[1]), .client_authorities = {}};
  if (contents.size() > 2) {
    files.client_authorities = std::move(contents[2]);
    if (files.client_authorities.empty()) return Status::invalid("--tls-client-ca", "is empty");
  }
  const Result<CertificateFacts> facts = check(files);
  if (!facts.ok()) return facts.status();
  if (tls_ == nullptr) {
    tls_ = std::make_shared<TlsListener>(std::move(files));
  } else {
    tls_->exchange(std::move(files));
  }
  around_.metrics.certificate_not_after_unix_seconds =
      static_cast<double>(facts->not_after_seconds);
  const int64_t seconds_left = facts->not_after_seconds - unix_seconds();
  around_.log.info("certificate", {{"subject", facts->subject}, {"seconds_left", seconds_left}});
  if (seconds_left <= 0) around_.log.warn("certificate expired", {{"subject", facts->subject}});
  return {};
}

Status Credentials::apply_tokens(const std::vector<std::string>& contents) {
  Result<Tokens> tokens = Tokens::parse(contents[0]);
  if (!tokens.ok()) return Status::invalid("--tokens-file", tokens.status().message());
  around_.log.info("tokens", {{"count", tokens->size()}});
  around_.gate.publish(std::make_shared<const Tokens>(std::move(*tokens)));
  return {};
}

void Credentials::watch(Duration interval) {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (stop_watching_.wait_for(lock, interval, [this] { return stopping_; })) return;
    }
    for (Watched& watched : watched_) look_again(watched);
  }
}

void Credentials::look_again(Watched& watched) {
  const Result<Look> look = this->look(watched);
  if (look.ok() && *look == Look::kUnchanged) return;
  around_.metrics.on_reload(watched.name, look.ok() ? Reload::kDone : Reload::kFailed);
  if (look.ok()) return;
  around_.log.warn("reload failed; what was good stays",
                   {{"file", kReloadedFileNames[static_cast<size_t>(watched.name)]},
                    {"why", look.status().message()}});
}

}  // namespace switchyard
