"""The demo model's held-out questions, asked through a node: the whole path from text to text is right.

The expected scores are those that its training measured with another implementation; its card
(deploy/demo-model/README.md) lists them per task, and they are read from there.
"""
import json
import re
import unittest
from concurrent.futures import ThreadPoolExecutor

from api import v1
from node_process import DEMO_MODEL, NodeProcess

# Of 30 questions one may go wrong: the card has bf16 weights and float32 arithmetic, a node may round more.
ALLOWED_LOSS_PERCENT = 4


def card_scores():
    """task -> percent, from the rows "| task | questions | 98.1 % | ..." of the card."""
    rows = re.findall(r"^\| ([a-z, ]+) \| \d+ \| ([\d.]+) %", (DEMO_MODEL / "README.md").read_text(), re.M)
    return {task: float(score) for task, score in rows}


def chat(item):
    return v1("ChatInput", messages=[v1("ChatMessage", **message) for message in item["messages"]])


class DemoModelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tasks = json.loads((DEMO_MODEL / "eval_prompts.json").read_text())
        cls.node = cls.enterClassContext(NodeProcess())

    def answer(self, item):
        request = v1("CompleteRequest", chat=chat(item), sampling=v1("SamplingParameters", temperature=0),
                     stop=v1("StopCondition", max_new_tokens=64))
        return self.node.chat.Complete(request, timeout=110).message.content

    def test_every_task_is_answered_as_well_as_the_card_says(self):
        card = card_scores()
        items = [(task, item) for task, part in self.tasks.items() for item in part]
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda pair: self.answer(pair[1]), items))
        for task, part in self.tasks.items():
            right = [answer == item["answer"] for (of, item), answer in zip(items, answers) if of == task]
            percent = 100 * sum(right) / len(part)
            expected = 100.0 if task == "quickstart" else card[task]
            print(f"{task:20} {sum(right):3} of {len(part):3} = {percent:5.1f} %, card {expected:5.1f} %")
            with self.subTest(task=task):
                allowed = 0 if task == "quickstart" else ALLOWED_LOSS_PERCENT
                self.assertGreaterEqual(percent, expected - allowed)

    def test_prompts_become_the_tokens_that_the_model_was_trained_on(self):
        checked = 0
        for part in self.tasks.values():
            for item in part:
                if "prompt_ids" in item:
                    rendered = self.node.generation.RenderChat(v1("RenderChatRequest", chat=chat(item)), timeout=10)
                    self.assertEqual(list(rendered.token_ids), item["prompt_ids"])
                    checked += 1
        self.assertGreater(checked, 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
