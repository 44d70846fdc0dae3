"""support/promql.py finds the series that an expression reads, and nothing else."""
import sys
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "support"))
from promql import Selector, metric_names, selectors, tokens  # noqa: E402


class PromqlTest(unittest.TestCase):
    def reads(self, expression, *written):
        self.assertEqual([str(selector) for selector in selectors(expression)], list(written))

    def test_names_functions_and_numbers_are_told_apart(self):
        self.reads("rate(a_total[5m]) * 3600 > 50", "a_total")
        self.reads("time() - last_seconds > 1e3", "last_seconds")
        self.reads("model:a:rate5m > 14.4 * 0.001", "model:a:rate5m")
        self.reads("sum(rate) / 0x1F", "rate")
        self.reads("a > Inf or b", "a", "b")

    def test_labels_are_no_metrics(self):
        self.reads("sum by (namespace, le) (rate(b_bucket[1h])) / on (le) group_left (pod) c", "b_bucket", "c")
        self.reads("sum(d) by (instance)", "d")
        self.reads("max without (x) (e) + ignoring(x) group_right f", "e", "f")
        self.reads("sum by(a) (g{b=\"c\"})", 'g{b="c"}')

    def test_a_metric_may_be_called_like_a_function_or_aggregation(self):
        self.reads("sum(count)", "count")

    def test_matchers_come_with_their_metric(self):
        self.reads('a{b="c", d=~"e|f}"}[5m] offset 10m', 'a{b="c",d=~"e|f}"}')
        self.reads("""{__name__=~'x.*', y!="z"}""", """{__name__=~'x.*',y!="z"}""")
        self.reads(r'a{b="with \" quote and {brace}"} + c', r'a{b="with \" quote and {brace}"}', "c")

    def test_strings_ranges_and_comments_hide_what_is_in_them(self):
        self.reads('label_replace(a, "node", "$1", "Hostname", "(.+)")', "a")
        self.reads("max_over_time(rate(a[5m])[1h:30s]) # not b\n + c", "a", "c")
        self.reads("rate(a[$__rate_interval]) / $__range_s", "a")
        self.reads("a @ end() and bool_b == bool 1", "a", "bool_b")

    def test_durations_are_one_token(self):
        self.assertEqual([text for _, text in tokens("offset 1h30m")], ["offset", "1h30m"])

    def test_what_is_no_promql_is_refused(self):
        for broken in ("a{b='c'", 'a{b="c}', "a ; b", "by (a"):
            with self.assertRaises(ValueError):
                selectors(broken)

    def test_a_selector_without_a_name_names_no_metric(self):
        self.assertEqual(selectors('{job="x"}'), [Selector("", '{job="x"}')])
        self.assertEqual(metric_names('{job="x"} or up'), {"up"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
