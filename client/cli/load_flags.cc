// The flags of `switchyard load`, in the groups of its --help. A flag that is given becomes the
// field of the same meaning in the specification's JSON: there is one parser of both.
#include <charconv>

#include "client/cli/load.h"

namespace switchyard {
namespace {

using nlohmann::json;

// "1:2:3" as numbers, exactly as many as `count`.
std::vector<double> numbers(const std::string& text, size_t count, const char* form) {
  std::vector<double> values;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at <= end) {
    double value = 0;
    const auto [rest, error] = std::from_chars(at, end, value);
    if (error != std::errc() || (rest != end && *rest != ':')) break;
    values.push_back(value);
    at = rest + 1;
  }
  if (at != end + 1 || values.size() != count) {
    throw CLI::ValidationError("\"" + text + "\" is not " + form);  // CLI11's own way
  }
  return values;
}

// Puts the value of `flag` at `pointer` of the specification.
template <typename Value>
CLI::Option* field(
    CLI::App& command, json& fields, const char* flag, const char* pointer, const char* help) {
  return command.add_option_function<Value>(
      flag, [&fields, pointer](const Value& value) { fields[json::json_pointer(pointer)] = value; },
      help);
}

// A number or a spread such as "uniform:10:20": as Spread::parse takes it.
CLI::Option* spread(
    CLI::App& command, json& fields, const char* flag, const char* pointer, const char* help) {
  return field<std::string>(command, fields, flag, pointer, help)->type_name("SPREAD");
}

}  // namespace

void LoadFlags::add_to(CLI::App& command) {
  command.footer(
      "SPREAD is how a number is distributed: N, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA[:MOST]\n"
      "or exponential:MEAN[:MOST]. --workload takes a JSON file with the same fields and more\n"
      "(several classes); client/README.md describes it. Flags win over the file; those of the\n"
      "groups Requests and Faults apply to each of its classes.\n"
      "Exit code: 0 done; 1 a node failed; 2 the command line was wrong; 3 this client was late.");
  add_where(command);
  add_when(command);
  add_how_long(command);
  add_what(command);
  add_faults(command);
  add_events(command);
  add_searches(command);
  report.add_to(command);
}

void LoadFlags::add_where(CLI::App& command) {
  constexpr const char* kGroup = "Where to";
  node.add_to(command);
  command
      .add_option("--targets", node.targets, "Several addresses, asked in turn; instead of --node")
      ->delimiter(',')
      ->group(kGroup);
  command.add_option("--channels", channels, "Connections to each address, used in turn")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(kGroup);
  command
      .add_option_function<std::string>(
          "--balance",
          [this](const std::string& name) {
            const auto policy = balance_of(name);
            if (!policy) throw CLI::ValidationError("--balance", "there is no policy " + name);
            balance = *policy;
          },
          "Which of several addresses is next: round-robin (default), weighted-round-robin (by the "
          "load that they report) or ring-hash (each conversation stays with one)")
      ->type_name("POLICY")
      ->group(kGroup);
  command
      .add_option("--wait-ready", ready_seconds,
                  "Wait so many seconds for the nodes to say that they serve")
      ->check(CLI::Range(0.0, 86'400.0))
      ->capture_default_str()
      ->group(kGroup);
}

void LoadFlags::add_when(CLI::App& command) {
  constexpr const char* kGroup = "When";
  field<double>(command, fields, "--rate", "/arrival/rate",
                "Open loop: requests/s, whatever becomes of them")
      ->group(kGroup);
  command
      .add_option_function<std::string>(
          "--ramp",
          [this](const std::string& text) {
            const auto ramp = numbers(text, 3, "FROM:TO:SECONDS");
            fields["arrival"]["ramp"] = {{"from", ramp[0]}, {"to", ramp[1]}, {"seconds", ramp[2]}};
          },
          "Open loop: from one rate to another in a line, then on at the second")
      ->type_name("FROM:TO:SECONDS")
      ->group(kGroup);
  command
      .add_option_function<std::vector<std::string>>(
          "--steps",
          [this](const std::vector<std::string>& steps) {
            json list = json::array();
            for (const std::string& text : steps) {
              const auto step = numbers(text, 2, "RATE:SECONDS");
              list.push_back({{"rate", step[0]}, {"seconds", step[1]}});
            }
            fields["arrival"]["steps"] = list;
          },
          "Open loop: one rate after the other, then on at the last")
      ->delimiter(',')
      ->type_name("RATE:SECONDS,...")
      ->group(kGroup);
  command
      .add_option_function<std::string>(
          "--sine",
          [this](const std::string& text) {
            const auto wave = numbers(text, 3, "MEAN:AMPLITUDE:PERIOD");
            fields["arrival"]["sine"] = {
                {"mean", wave[0]}, {"amplitude", wave[1]}, {"period_seconds", wave[2]}};
          },
          "Open loop: a rate that swings by a share AMPLITUDE of its mean every PERIOD seconds")
      ->type_name("MEAN:AMPLITUDE:PERIOD")
      ->group(kGroup);
  field<std::string>(command, fields, "--gaps", "/arrival/gaps",
                     "Between requests of an open loop: poisson (default), constant or gamma")
      ->group(kGroup);
  field<double>(command, fields, "--burstiness", "/arrival/burstiness",
                "Of gamma gaps: 1 is poisson, less comes in bursts, more is more even")
      ->group(kGroup);
  field<int64_t>(command, fields, "--concurrency", "/arrival/concurrency",
                 "Closed loop: so many users, each waiting for its answer before it asks again")
      ->group(kGroup);
  field<double>(command, fields, "--ramp-up", "/arrival/ramp_up_seconds",
                "Seconds over which the users begin (default: 1 ms for each)")
      ->group(kGroup);
}

void LoadFlags::add_how_long(CLI::App& command) {
  constexpr const char* kGroup = "How long";
  field<int64_t>(command, fields, "--requests", "/requests", "Send so many")->group(kGroup);
  field<double>(command, fields, "--duration", "/duration_seconds", "Send for so many seconds")
      ->group(kGroup);
  field<double>(command, fields, "--warmup", "/warmup_seconds",
                "What is meant for the first so many seconds is not measured (default: 0)")
      ->group(kGroup);
  field<double>(command, fields, "--cooldown", "/cooldown_seconds",
                "Nor what is meant for the last so many (default: 0)")
      ->group(kGroup);
  field<double>(command, fields, "--grace", "/grace_seconds",
                "Wait so long for what is in flight at the end, then cut it (default: 60)")
      ->group(kGroup);
  field<int64_t>(command, fields, "--max-in-flight", "/max_in_flight",
                 "Hold requests back, and say so, when this many are (default: 10000)")
      ->group(kGroup);
  field<double>(command, fields, "--max-errors", "/stop/most_errors",
                "Stop when a larger share of the requests has failed (default: 1, never)")
      ->group(kGroup);
  field<double>(command, fields, "--stop-when-saturated", "/stop/saturation_seconds",
                "Stop when the requests in flight have been rising for so many seconds")
      ->group(kGroup);
}

void LoadFlags::add_what(CLI::App& command) {
  constexpr const char* kGroup = "Requests";
  command.add_option("--workload", workload_file, "JSON file with a specification")->group(kGroup);
  field<std::string>(
      command, fields, "--prompts", "/prompts",
      "File with prompts, JSONL or an array: text, messages, token_ids or ShareGPT's "
      "conversations; instead of random ones")
      ->group(kGroup);
  field<std::string>(command, fields, "--trace", "/trace/file",
                     "JSONL trace in Mooncake's format, with its own times")
      ->group(kGroup);
  field<double>(command, fields, "--speed", "/trace/speed", "Of the trace; 2: in half the time")
      ->group(kGroup);
  field<std::string>(command, fields, "--replay", "/replay",
                     "A file that --save-workload wrote, byte for byte")
      ->group(kGroup);
  command
      .add_option("--save-workload", save_file, "Write all requests to this file and send nothing")
      ->group(kGroup);
  field<uint64_t>(command, fields, "--seed", "/seed",
                  "Of arrivals, prompts, faults and sampling (default: 1)")
      ->group(kGroup);
  field<std::string>(command, fields, "--model", "/model",
                     "Name of the model (default: the nodes' only one)")
      ->group(kGroup);
  spread(command, fields, "--prompt-tokens", "/class/prompt_tokens",
         "That each turn adds (default: 128)")
      ->group(kGroup);
  spread(command, fields, "--answer-tokens", "/class/answer_tokens", "(default: 128)")
      ->group(kGroup);
  command
      .add_flag_callback(
          "--honour-eos", [this] { fields["class"]["ignore_eos"] = false; },
          "Answers may end before their length, at the model's end of sequence")
      ->group(kGroup);
  field<int64_t>(command, fields, "--prefix-groups", "/class/prefix_groups",
                 "Conversations begin with one of so many shared prefixes")
      ->group(kGroup);
  field<int64_t>(command, fields, "--prefix-tokens", "/class/prefix_tokens", "Of each prefix")
      ->group(kGroup);
  spread(command, fields, "--turns", "/class/turns",
         "Of a conversation; each carries all before it, answers included (default: 1)")
      ->group(kGroup);
  field<int64_t>(command, fields, "--conversations", "/conversations_at_once",
                 "That take turns at once in an open loop (default: 1)")
      ->group(kGroup);
  spread(command, fields, "--think-ms", "/class/think_ms",
         "From the end of an answer until its reader asks again (default: 0)")
      ->group(kGroup);
  field<int64_t>(command, fields, "--priority", "/class/priority", "Higher runs first")
      ->group(kGroup);
  field<double>(command, fields, "--temperature", "/class/sampling/temperature",
                "0 is greedy (default: the model's)")
      ->group(kGroup);
  field<int64_t>(command, fields, "--retries", "/retries",
                 "Of a refusal that says when to come back (default: 0)")
      ->group(kGroup);
}

void LoadFlags::add_faults(CLI::App& command) {
  constexpr const char* kGroup = "Faults on purpose, as shares of the requests";
  const auto share = [&](const char* flag, const char* pointer, const char* help) {
    field<double>(command, fields, flag, pointer, help)->group(kGroup);
  };
  const auto how = [&](const char* flag, const char* pointer, const char* help) {
    spread(command, fields, flag, pointer, help)->group(kGroup);
  };
  share("--cancel", "/class/faults/cancel", "Callers that leave");
  how("--cancel-after-ms", "/class/faults/cancel_after_ms", "After this time (default: 0)");
  how("--cancel-after-tokens", "/class/faults/cancel_after_tokens",
      "Or after so many tokens of the answer");
  share("--deadline", "/class/faults/deadline", "Callers that wait no longer than a deadline");
  how("--deadline-ms", "/class/faults/deadline_ms", "The deadline (default: 1000)");
  share("--slow-readers", "/class/faults/slow_reader", "Callers that pause after each message");
  how("--pause-ms", "/class/faults/pause_ms", "The pause (default: 100)");
  share("--malformed", "/class/faults/malformed",
        "Requests with a field out of its range, or of bytes that are none");
}

void LoadFlags::add_events(CLI::App& command) {
  constexpr const char* kGroup = "Done to the nodes meanwhile, and told in the report";
  const auto add = [&](const char* flag, PlannedEvent::Kind kind, const char* form,
                       const char* help) {
    command
        .add_option_function<std::vector<std::string>>(
            flag,
            [this, flag, kind](const std::vector<std::string>& texts) {
              for (const std::string& text : texts) {
                auto event = parse_event(kind, text);
                if (!event.ok()) {
                  throw CLI::ValidationError(flag, std::string(event.status().message()));
                }
                events.push_back(*std::move(event));
              }
              if (events.size() > EventRunner::kMostEvents) {
                throw CLI::ValidationError(
                    flag, "more than " + std::to_string(EventRunner::kMostEvents) + " events");
              }
            },
            help)
        ->type_name(form)
        ->allow_extra_args(false)
        ->group(kGroup);
  };
  add("--at", PlannedEvent::Kind::kCommand, "SECONDS:COMMAND",
      "Run a shell command so long after the start, such as one that kills a node; may be "
      "repeated");
  add("--drain-at", PlannedEvent::Kind::kDrain, "SECONDS:HOST:PORT",
      "Drain the node with this admin address so long after the start; may be repeated");
}

void LoadFlags::add_searches(CLI::App& command) {
  constexpr const char* kGroup = "Searches and checks";
  CLI::Option* rates =
      command
          .add_option_function<std::string>(
              "--sweep",
              [this](const std::string& text) {
                const auto range = numbers(text, 2, "LOW:HIGH");
                sweep_rates = text;
                sweep.lowest_rate = range[0];
                sweep.highest_rate = range[1];
                if (!fields["arrival"].contains("rate")) fields["arrival"]["rate"] = range[0];
              },
              "Find the highest rate that is met, by bisection over runs of their own")
          ->type_name("LOW:HIGH")
          ->excludes("--at", "--drain-at")
          ->group(kGroup);
  command.add_option("--sweep-seconds", sweep.seconds, "Of each run")
      ->capture_default_str()
      ->needs(rates)
      ->group(kGroup);
  command
      .add_option("--sweep-precision", sweep.precision,
                  "End when two rates are this close, as a share")
      ->capture_default_str()
      ->needs(rates)
      ->group(kGroup);
  command.add_option("--sweep-runs", sweep.most_runs, "At most so many runs")
      ->capture_default_str()
      ->needs(rates)
      ->group(kGroup);
  field<int64_t>(command, fields, "--check-greedy", "/check_greedy",
                 "Sample greedily, ask so many of the requests again alone, compare the answers")
      ->group(kGroup);
}

}  // namespace switchyard
