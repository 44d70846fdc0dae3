"""Answers of a node: what a stream carries, and that every way of asking gives the same answer."""
import unittest

from api import v1
from node_process import NodeProcess, collect, greedy


class StreamsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())

    def generate(self, request):
        return self.node.generation.Generate(request, timeout=30)

    def stream(self, request):
        return collect(self.node.generation.GenerateStream(request, timeout=30))

    def test_a_streams_deltas_add_up_to_the_unary_answer(self):
        request = greedy("What is the capital of France?", 40, ignore_eos=True)
        started, text, tokens, finished, usage = self.stream(request)
        whole = self.generate(request)
        self.assertEqual(text, whole.text)
        self.assertEqual(tokens, list(whole.token_ids))
        self.assertEqual(finished, whole.finished)
        self.assertEqual(len(tokens), 40)
        self.assertEqual((usage.prompt_tokens, usage.completion_tokens), (started.prompt_tokens, 40))
        self.assertGreater(usage.timings.total.ToNanoseconds(), 0)

    def test_a_chat_is_the_same_question_through_every_door(self):
        chat = v1("ChatInput", messages=[v1("ChatMessage", role="user", content="What is the capital of Italy?")])
        sampling, stop = v1("SamplingParameters", temperature=0), v1("StopCondition", max_new_tokens=30)
        ask = v1("CompleteRequest", chat=chat, sampling=sampling, stop=stop)
        whole = self.node.chat.Complete(ask, timeout=30)
        self.assertEqual(whole.message.role, "assistant")
        _, text, tokens, _, _ = collect(self.node.chat.CompleteStream(ask, timeout=30))
        self.assertEqual((text, tokens), (whole.message.content, list(whole.token_ids)))

        by_chat = self.generate(v1("GenerateRequest", chat=chat, sampling=sampling, stop=stop))
        self.assertEqual(by_chat.token_ids, whole.token_ids)

        rendered = self.node.generation.RenderChat(v1("RenderChatRequest", chat=chat), timeout=10)
        self.assertIn("What is the capital of Italy?", rendered.text)
        ids = v1("TokenIds", ids=rendered.token_ids)
        by_tokens = self.generate(v1("GenerateRequest", token_ids=ids, sampling=sampling, stop=stop))
        self.assertEqual(by_tokens.token_ids, whole.token_ids)
        self.assertEqual(by_tokens.usage.prompt_tokens, len(rendered.token_ids))

    def test_text_survives_tokenizing(self):
        for text in ("What is the capital of France?", "naïve café — 東京 🙂\n\ttabs  and  spaces ", "<|im_start|>x"):
            ids = self.node.generation.Tokenize(
                v1("TokenizeRequest", text=text, add_special_tokens=False), timeout=10).token_ids
            back = self.node.generation.Detokenize(
                v1("DetokenizeRequest", token_ids=ids, skip_special_tokens=False), timeout=10).text
            self.assertEqual(back, text)

    def test_deltas_are_whole_characters(self):
        # A prompt of unusual text makes a byte-level model answer in parts of characters.
        request = v1("GenerateRequest", text="🙂東京é", sampling=v1("SamplingParameters", temperature=2, seed=3),
                     stop=v1("StopCondition", max_new_tokens=300, ignore_eos=True))
        _, text, tokens, _, _ = self.stream(request)  # protobuf refuses strings that are not UTF-8
        self.assertEqual(len(tokens), 300)
        self.assertEqual(text, self.generate(request).text)

    def test_a_stop_string_ends_the_answer_before_itself(self):
        free = self.generate(greedy("What is the capital of France?", 40, ignore_eos=True))
        stop = free.text[len(free.text) // 2:][:3]
        expected = free.text[:free.text.index(stop)]
        request = greedy("What is the capital of France?", 40, ignore_eos=True, stop_strings=[stop])
        whole = self.generate(request)
        _, streamed, _, finished, _ = self.stream(request)
        for text, finished in ((whole.text, whole.finished), (streamed, finished)):
            self.assertEqual(text, expected)
            self.assertEqual(finished.reason, 3)  # FINISH_REASON_STOP_STRING
            self.assertEqual(finished.matched_stop, stop)
        request.stop.include_stop = True
        self.assertEqual(self.generate(request).text, expected + stop)

    def test_a_stop_token_ends_the_answer(self):
        free = self.generate(greedy("What is the capital of France?", 20, ignore_eos=True))
        stop = free.token_ids[10]
        whole = self.generate(greedy("What is the capital of France?", 20, ignore_eos=True, stop_token_ids=[stop]))
        self.assertEqual(list(whole.token_ids), list(free.token_ids)[:list(free.token_ids).index(stop) + 1])
        self.assertEqual(whole.finished.reason, 2)  # FINISH_REASON_STOP_TOKEN
        self.assertEqual(whole.finished.matched_token_id, stop)

    def test_the_models_own_end_is_reported_as_such(self):
        ask = v1("CompleteRequest", sampling=v1("SamplingParameters", temperature=0),
                 chat=v1("ChatInput", messages=[v1("ChatMessage", role="user", content="What is the capital of France?")]))
        answer = self.node.chat.Complete(ask, timeout=30)
        self.assertEqual(answer.finished.reason, 1)  # FINISH_REASON_EOS
        model = self.node.model.GetModel(v1("GetModelRequest"), timeout=10).model
        self.assertIn(answer.finished.matched_token_id, model.eos_token_ids)
        self.assertEqual(answer.token_ids[-1], answer.finished.matched_token_id)

    def test_an_answer_ends_at_the_context_limit(self):
        with NodeProcess("--max-context", "64") as node:
            request = greedy("hello", 1, ignore_eos=True)
            request.stop.ClearField("max_new_tokens")
            answer = node.generation.Generate(request, timeout=30)
            self.assertEqual(answer.finished.reason, 5)  # FINISH_REASON_CONTEXT_LIMIT
            self.assertEqual(answer.usage.prompt_tokens + answer.usage.completion_tokens, 64)

    def test_a_reported_seed_gives_the_answer_again(self):
        request = v1("GenerateRequest", text="Once", sampling=v1("SamplingParameters", temperature=1.5),
                     stop=v1("StopCondition", max_new_tokens=40, ignore_eos=True))
        first = self.generate(request)
        other = self.generate(request)
        self.assertNotEqual(first.started.seed, other.started.seed)
        self.assertNotEqual(first.token_ids, other.token_ids)
        request.sampling.seed = first.started.seed
        self.assertEqual(self.generate(request).token_ids, first.token_ids)

    def test_log_probabilities_belong_to_the_tokens(self):
        request = greedy("What is the capital of France?", 12, ignore_eos=True)
        request.logprobs.top = 5
        answer = self.generate(request)
        self.assertEqual([entry.token_id for entry in answer.logprobs], list(answer.token_ids))
        for entry in answer.logprobs:
            top = [choice.logprob for choice in entry.top]
            self.assertEqual(len(top), 5)
            self.assertEqual(top, sorted(top, reverse=True))
            self.assertLessEqual(top[0], 0)
            self.assertAlmostEqual(entry.logprob, top[0], places=5)  # greedy draws the most probable

    def test_a_long_prompt_can_be_cut_to_its_end(self):
        request = greedy("one two three four five six seven eight nine ten", 8)
        request.truncate_prompt_tokens = 3
        ids = self.node.generation.Tokenize(v1("TokenizeRequest", text=request.text), timeout=10).token_ids
        cut = self.generate(request)
        self.assertEqual(cut.usage.prompt_tokens, 3)
        last = self.generate(v1("GenerateRequest", token_ids=v1("TokenIds", ids=ids[-3:]),
                                sampling=request.sampling, stop=request.stop))
        self.assertEqual(cut.token_ids, last.token_ids)


if __name__ == "__main__":
    unittest.main(verbosity=2)
