// The program `switchyard`: parses the command line and runs one subcommand.
// Exit codes: 0 done, 1 the node failed, 2 the command line was wrong, 3 a load came late.
#include <CLI/CLI.hpp>
#include <iostream>

#include "client/cli/chat.h"
#include "client/cli/generate.h"
#include "client/cli/load.h"
#include "client/cli/load_compare.h"
#include "client/cli/models.h"

// What escapes is a lack of memory, which ends the program anyway.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  CLI::App app("Talks to a Switchyard node.", "switchyard");
  app.require_subcommand(1);

  switchyard::ChatFlags chat_flags;
  CLI::App* chat = app.add_subcommand("chat", "A conversation, typed or from a script");
  chat_flags.add_to(*chat);

  switchyard::GenerateFlags generate_flags;
  CLI::App* generate = app.add_subcommand("generate", "One prompt, one answer");
  generate_flags.add_to(*generate);

  switchyard::LoadFlags load_flags;
  CLI::App* load = app.add_subcommand("load", "Makes load and measures what becomes of it");
  load_flags.add_to(*load);
  switchyard::LoadCompareFlags compare_flags;
  const CLI::App* compare = switchyard::add_compare_to(*load, compare_flags);

  switchyard::ModelsFlags models_flags;
  CLI::App* models = app.add_subcommand("models", "What the node serves");
  models_flags.add_to(*models);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_help) {
    return app.exit(asked_for_help);
  } catch (const CLI::ParseError& wrong) {
    app.exit(wrong, std::cout, std::cerr);
    return 2;
  }

  if (chat->parsed()) return switchyard::run_chat(chat_flags);
  if (generate->parsed()) return switchyard::run_generate(generate_flags);
  if (compare->parsed()) return switchyard::run_load_compare(compare_flags);
  if (load->parsed()) {
    return switchyard::run_load(load_flags, switchyard::this_environment(argc, argv));
  }
  return switchyard::run_models(models_flags);
}
