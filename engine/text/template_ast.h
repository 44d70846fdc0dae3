// A parsed template: expressions and statements as plain data, immutable once parsed.
// The parser bounds how deep they nest, so that walking or destroying them is safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/template_value.h"

namespace switchyard {

struct TemplateExpression;
struct TemplateStatement;
using ExpressionPointer = std::unique_ptr<const TemplateExpression>;
using ExpressionList = std::vector<ExpressionPointer>;
using TemplateBody = std::vector<TemplateStatement>;

struct CallArguments {
  ExpressionList positional;
  std::vector<std::pair<std::string, ExpressionPointer>> named;
};

struct LiteralExpression {
  TemplateValue value;
};
struct NameExpression {
  std::string name;
};
struct SequenceExpression {
  SequenceKind kind;
  ExpressionList items;
};
struct MapExpression {
  std::vector<std::pair<ExpressionPointer, ExpressionPointer>> entries;
};
struct AttributeExpression {
  ExpressionPointer object;
  std::string name;
};
struct SubscriptExpression {
  ExpressionPointer object;
  ExpressionPointer index;
};
struct SliceExpression {  // object[start:stop:step], each of them may be null
  ExpressionPointer object;
  ExpressionPointer start;
  ExpressionPointer stop;
  ExpressionPointer step;
};
struct CallExpression {
  ExpressionPointer callee;
  CallArguments arguments;
};
struct FilterExpression {
  ExpressionPointer input;  // null in a block: {% filter name %}
  std::string name;
  CallArguments arguments;
};
struct TestExpression {
  ExpressionPointer input;
  std::string name;
  CallArguments arguments;
};
struct UnaryExpression {
  enum class Operator { kNot, kMinus, kPlus };
  Operator operation;
  ExpressionPointer operand;
};
enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
struct BinaryExpression {
  BinaryOperator operation;
  ExpressionPointer left;
  ExpressionPointer right;
};
struct LogicalExpression {
  enum class Operator { kAnd, kOr };
  Operator operation;
  ExpressionPointer left;
  ExpressionPointer right;
};
struct ConcatExpression {
  ExpressionList parts;
};
enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kIn,
  kNotIn,
};
struct CompareExpression {  // a < b <= c holds when both do; each operand is evaluated once
  ExpressionPointer first;
  std::vector<std::pair<Comparison, ExpressionPointer>> rest;
};
struct ConditionalExpression {
  ExpressionPointer value;
  ExpressionPointer condition;
  ExpressionPointer otherwise;  // null: undefined
};

struct TemplateExpression {
  using Node = std::variant<LiteralExpression,
                            NameExpression,
                            SequenceExpression,
                            MapExpression,
                            AttributeExpression,
                            SubscriptExpression,
                            SliceExpression,
                            CallExpression,
                            FilterExpression,
                            TestExpression,
                            UnaryExpression,
                            BinaryExpression,
                            LogicalExpression,
                            ConcatExpression,
                            CompareExpression,
                            ConditionalExpression>;
  int line;
  Node node;
};

// What `set` and `for` assign to: a name, namespace.attribute, or a tuple of targets.
struct AssignTarget {
  std::string name;
  std::string attribute;            // empty: the name itself
  std::vector<AssignTarget> parts;  // not empty: a tuple, and the others are unused
  bool is_tuple = false;
};

struct TextStatement {
  std::string text;
};
struct OutputStatement {
  ExpressionPointer value;
};
struct SetStatement {
  AssignTarget target;
  ExpressionPointer value;
};
struct SetBlockStatement {
  AssignTarget target;
  ExpressionList filters;  // FilterExpressions without input, applied in order
  TemplateBody body;
};
struct IfStatement {
  std::vector<std::pair<ExpressionPointer, TemplateBody>> branches;
  TemplateBody otherwise;
};
struct ForStatement {
  AssignTarget target;
  ExpressionPointer iterable;
  ExpressionPointer condition;  // null: every element
  TemplateBody body;
  TemplateBody otherwise;
};
struct MacroStatement {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPointer>> parameters;  // null: no default
  TemplateBody body;
};
struct FilterStatement {
  ExpressionList filters;
  TemplateBody body;
};
struct WithStatement {  // with no bindings: a scope, as {% generation %} is
  std::vector<std::pair<AssignTarget, ExpressionPointer>> bindings;
  TemplateBody body;
};
struct BreakStatement {};
struct ContinueStatement {};

struct TemplateStatement {
  using Node = std::variant<TextStatement,
                            OutputStatement,
                            SetStatement,
                            SetBlockStatement,
                            IfStatement,
                            ForStatement,
                            MacroStatement,
                            FilterStatement,
                            WithStatement,
                            BreakStatement,
                            ContinueStatement>;
  int line;
  Node node;
};

}  // namespace switchyard
