// Filters of many values: choosing, ordering, counting and joining.
#include <algorithm>
#include <charconv>
#include <set>

#include "engine/text/template_builtins.h"
#include "engine/text/template_operators.h"
#include "engine/text/template_print.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Arguments = TemplateArguments;
using Kind = TemplateValue::Kind;
using Runtime = TemplateRuntime;
using Value = TemplateValue;

// "a.0.b" as the keys a, 0, b: how attribute= arguments name what to look at.
class AttributePath {
 public:
  AttributePath(Runtime& runtime, const Value& attribute) {
    if (!attribute.is_text()) {
      if (!attribute.is_none()) keys_.push_back(attribute);
      return;
    }
    std::string_view rest = attribute.as_text();
    while (true) {
      const size_t dot = rest.find('.');
      keys_.push_back(key(runtime, rest.substr(0, dot)));
      if (dot == rest.npos) return;
      rest.remove_prefix(dot + 1);
    }
  }

  Value of(Runtime& runtime, Value item) const {
    for (const Value& step : keys_) item = element_of(runtime, item, step);
    return item;
  }
  Value of(Runtime& runtime, Value item, const Value& fallback) const {
    for (const Value& step : keys_) {
      item = element_of(runtime, item, step);
      if (item.is_undefined()) item = fallback;
    }
    return item;
  }

 private:
  static Value key(Runtime& runtime, std::string_view part) {
    int64_t index = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index =
        read.ec == std::errc() && read.ptr == part.data() + part.size() && part[0] != '-';
    return is_index ? Value::integer(index) : Value::text(runtime, std::string(part));
  }

  TemplateItems keys_;
};

AttributePath optional_path(Runtime& runtime, const BoundArguments& bound, size_t parameter) {
  return {runtime, bound.value_or(parameter, Value::none())};
}

enum class Case { kSensitive, kIgnored };

Value comparable(Runtime& runtime, const Value& value, Case letters) {
  if (letters == Case::kSensitive || !value.is_text()) return value;
  return Value::text(runtime, lower_case(value.as_text()));
}

Value filter_length(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("length", arguments, {});
  if (input.is_text()) return Value::integer(static_cast<int64_t>(input.text_length()));
  if (input.is(Kind::kMap)) return Value::integer(static_cast<int64_t>(input.entries().size()));
  if (!input.is(Kind::kSequence) && !input.is_undefined()) {
    template_failed("object of type '", input.type_name(), "' has no len()");
  }
  return Value::integer(static_cast<int64_t>(iterate(runtime, input).items().size()));
}

Value filter_list(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("list", arguments, {});
  return Value::list(runtime, iterate(runtime, input).items());
}

Value filter_first(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("first", arguments, {});
  const Value elements = iterate(runtime, input);
  if (elements.items().empty()) return Value::undefined("first: the sequence was empty");
  return elements.items().front();
}

Value filter_last(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("last", arguments, {});
  const Value elements = iterate(runtime, input);
  if (elements.items().empty()) return Value::undefined("last: the sequence was empty");
  return elements.items().back();
}

Value filter_join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"d", "attribute"});
  const Value separator = to_text(runtime, bound.value_or(0, Value()));
  const AttributePath path = optional_path(runtime, bound, 1);
  const Value elements = iterate(runtime, input);
  TemplateTextBuilder out(runtime);
  for (size_t i = 0; i < elements.items().size(); ++i) {
    runtime.step();
    if (i > 0) out.append(separator.as_text());
    print_text(runtime, path.of(runtime, elements.items()[i]), out);
  }
  return Value::text(std::move(out));
}

// map('filter', arguments...) or map(attribute='path', default=value).
Value filter_map(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Value elements = iterate(runtime, input);
  TemplateItems results;
  if (arguments.positional.empty()) {
    const BoundArguments bound("map", arguments, {"attribute", "default"});
    const AttributePath path(runtime, bound.value(0));
    for (const Value& item : elements.items()) {
      runtime.step();
      results.push_back(bound.is_set(1) ? path.of(runtime, item, bound.value(1))
                                        : path.of(runtime, item));
    }
  } else {
    Arguments forwarded = arguments;
    const Value name = forwarded.positional.front();
    if (!name.is_text()) template_failed("map() needs the name of a filter");
    forwarded.positional.erase(forwarded.positional.begin());
    for (const Value& item : elements.items()) {
      results.push_back(apply_filter(runtime, name.as_text(), item, forwarded));
    }
  }
  return Value::sequence(runtime, SequenceKind::kIterator, std::move(results));
}

enum class Keep { kPassing, kFailing };

// The elements that pass or fail a test (by default: truth), each looked at through `path`.
Value chosen(Runtime& runtime,
             const Value& input,
             const AttributePath& path,
             std::span<const Value> test,
             Keep keep) {
  Arguments forwarded;
  if (!test.empty()) {
    if (!test[0].is_text()) template_failed("select needs the name of a test");
    forwarded.positional.assign(test.begin() + 1, test.end());
  }
  const Value elements = iterate(runtime, input);
  TemplateItems results;
  for (const Value& item : elements.items()) {
    runtime.step();
    const Value looked_at = path.of(runtime, item);
    const bool passes = test.empty() ? looked_at.truth()
                                     : apply_test(runtime, test[0].as_text(), looked_at, forwarded);
    if (passes == (keep == Keep::kPassing)) results.push_back(item);
  }
  return Value::sequence(runtime, SequenceKind::kIterator, std::move(results));
}

void refuse_named(const Arguments& arguments) {
  if (!arguments.named.empty()) template_failed("select and reject take no named arguments");
}

template <Keep keep>
Value filter_select(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_named(arguments);
  return chosen(runtime, input, AttributePath(runtime, Value::none()), arguments.positional, keep);
}

template <Keep keep>
Value filter_selectattr(Runtime& runtime, const Value& input, const Arguments& arguments) {
  refuse_named(arguments);
  if (arguments.positional.empty()) template_failed("selectattr needs the name of an attribute");
  return chosen(runtime, input, AttributePath(runtime, arguments.positional[0]),
                std::span(arguments.positional).subspan(1), keep);
}

TemplateItems sorted_by(Runtime& runtime,
                        TemplateItems items,
                        const std::function<Value(const Value&)>& key,
                        bool descending) {
  std::vector<std::pair<Value, size_t>> keyed;
  for (size_t i = 0; i < items.size(); ++i) keyed.emplace_back(key(items[i]), i);
  // Stable in both directions, as sorted(reverse=True) is.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& left, const auto& right) {
    return descending ? sorts_before(runtime, right.first, left.first)
                      : sorts_before(runtime, left.first, right.first);
  });
  TemplateItems sorted;
  for (const auto& entry : keyed) sorted.push_back(std::move(items[entry.second]));
  return sorted;
}

// "a.b,c": sort by the first, then by the second.
std::vector<AttributePath> paths_of(Runtime& runtime, const Value& attribute) {
  std::vector<AttributePath> paths;
  if (!attribute.is_text()) {
    paths.emplace_back(runtime, attribute);
    return paths;
  }
  std::string_view rest = attribute.as_text();
  while (true) {
    const size_t comma = rest.find(',');
    paths.emplace_back(runtime, Value::text(runtime, std::string(rest.substr(0, comma))));
    if (comma == rest.npos) return paths;
    rest.remove_prefix(comma + 1);
  }
}

Value filter_sort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const Case letters = bound.truth_or(1, false) ? Case::kSensitive : Case::kIgnored;
  const std::vector<AttributePath> paths = paths_of(runtime, bound.value_or(2, Value::none()));
  const auto key = [&](const Value& item) {
    TemplateItems parts;
    for (const AttributePath& path : paths) {
      parts.push_back(comparable(runtime, path.of(runtime, item), letters));
    }
    return parts.size() == 1 ? parts[0] : Value::list(runtime, std::move(parts));
  };
  return Value::list(
      runtime, sorted_by(runtime, iterate(runtime, input).items(), key, bound.truth_or(0, false)));
}

Value pair_of(Runtime& runtime, const std::pair<Value, Value>& entry) {
  return Value::sequence(runtime, SequenceKind::kTuple, {entry.first, entry.second});
}

TemplateItems pairs_of(Runtime& runtime, const Value& input) {
  TemplateItems pairs;
  if (input.is_undefined()) return pairs;
  if (!input.is(Kind::kMap)) template_failed("only a mapping has item pairs");
  for (const auto& entry : input.entries()) pairs.push_back(pair_of(runtime, entry));
  return pairs;
}

Value filter_items(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("items", arguments, {});
  return Value::sequence(runtime, SequenceKind::kIterator, pairs_of(runtime, input));
}

Value filter_dictsort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const Case letters = bound.truth_or(0, false) ? Case::kSensitive : Case::kIgnored;
  const std::string by = bound.has(1) ? bound.text(1) : "key";
  if (by != "key" && by != "value") template_failed("dictsort(): 'by' must be key or value");
  input.require_defined();
  const auto key = [&](const Value& pair) {
    return comparable(runtime, pair.items()[by == "key" ? 0 : 1], letters);
  };
  return Value::list(runtime,
                     sorted_by(runtime, pairs_of(runtime, input), key, bound.truth_or(2, false)));
}

Value filter_unique(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("unique", arguments, {"case_sensitive", "attribute"});
  const Case letters = bound.truth_or(0, false) ? Case::kSensitive : Case::kIgnored;
  const AttributePath path = optional_path(runtime, bound, 1);
  const Value elements = iterate(runtime, input);
  // A map keeps the first place of equal keys; its last value is not the element we want.
  TemplateEntries entries;
  for (const Value& item : elements.items()) {
    entries.emplace_back(comparable(runtime, path.of(runtime, item), letters),
                         Value::integer(static_cast<int64_t>(entries.size())));
  }
  std::reverse(entries.begin(), entries.end());
  const Value first_places = Value::map(runtime, std::move(entries));
  std::set<int64_t> kept;
  for (const auto& entry : first_places.entries()) kept.insert(entry.second.as_integer());
  TemplateItems results;
  for (const int64_t index : kept) results.push_back(elements.items()[static_cast<size_t>(index)]);
  return Value::sequence(runtime, SequenceKind::kIterator, std::move(results));
}

Value filter_reverse(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("reverse", arguments, {});
  if (input.is_text()) return Value::text(runtime, reversed_text(input.as_text()));
  TemplateItems items = iterate(runtime, input).items();
  std::reverse(items.begin(), items.end());
  return Value::sequence(runtime, SequenceKind::kIterator, std::move(items));
}

enum class Extreme { kLeast, kGreatest };

template <Extreme extreme>
Value filter_extreme(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("min/max", arguments, {"case_sensitive", "attribute"});
  const Case letters = bound.truth_or(0, false) ? Case::kSensitive : Case::kIgnored;
  const AttributePath path = optional_path(runtime, bound, 1);
  const Value elements = iterate(runtime, input);
  if (elements.items().empty()) return Value::undefined("min/max: the sequence was empty");
  Value best = elements.items().front();
  Value best_key = comparable(runtime, path.of(runtime, best), letters);
  for (const Value& item : elements.items()) {
    Value key = comparable(runtime, path.of(runtime, item), letters);
    const bool better = extreme == Extreme::kLeast ? order(runtime, key, best_key) < 0
                                                   : order(runtime, key, best_key) > 0;
    if (!better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}

Value filter_sum(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sum", arguments, {"attribute", "start"});
  const AttributePath path = optional_path(runtime, bound, 0);
  Value total = bound.value_or(1, Value::integer(0));
  if (total.is_text()) template_failed("sum() can't sum strings");
  const Value elements = iterate(runtime, input);
  for (const Value& item : elements.items()) {
    runtime.step();
    total = apply_binary(runtime, BinaryOperator::kAdd, total, path.of(runtime, item));
  }
  return total;
}

Value filter_batch(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("batch", arguments, {"linecount", "fill_with"});
  const int64_t size = bound.integer(0);
  if (size < 1) template_failed("batch(): 'linecount' must be positive");
  const Value elements = iterate(runtime, input);
  const TemplateItems& items = elements.items();
  TemplateItems batches;
  for (size_t start = 0; start < items.size();) {
    const size_t count = std::min<size_t>(static_cast<size_t>(size), items.size() - start);
    const auto first = items.begin() + static_cast<int64_t>(start);
    TemplateItems batch(first, first + static_cast<int64_t>(count));
    if (bound.is_set(1) && count < static_cast<size_t>(size)) {
      const TemplateCharge filled = runtime.hold(
          std::min<size_t>(static_cast<size_t>(size), SIZE_MAX / sizeof(Value)) * sizeof(Value));
      batch.resize(static_cast<size_t>(size), bound.value(1));
    }
    batches.push_back(Value::list(runtime, std::move(batch)));
    start += count;
  }
  return Value::sequence(runtime, SequenceKind::kIterator, std::move(batches));
}

constexpr NamedBuiltin kFilters[] = {
    {"batch", &filter_batch},
    {"count", &filter_length},
    {"dictsort", &filter_dictsort},
    {"first", &filter_first},
    {"items", &filter_items},
    {"join", &filter_join},
    {"last", &filter_last},
    {"length", &filter_length},
    {"list", &filter_list},
    {"map", &filter_map},
    {"max", &filter_extreme<Extreme::kGreatest>},
    {"min", &filter_extreme<Extreme::kLeast>},
    {"reject", &filter_select<Keep::kFailing>},
    {"rejectattr", &filter_selectattr<Keep::kFailing>},
    {"reverse", &filter_reverse},
    {"select", &filter_select<Keep::kPassing>},
    {"selectattr", &filter_selectattr<Keep::kPassing>},
    {"sort", &filter_sort},
    {"sum", &filter_sum},
    {"unique", &filter_unique},
};

}  // namespace

std::span<const NamedBuiltin> sequence_filters() { return kFilters; }

}  // namespace switchyard
