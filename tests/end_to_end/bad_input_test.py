"""Every request that cannot be served gets one clear status, and the node answers the next one."""
import math
import unittest

import grpc

from api import v1, violations
from node_process import NodeProcess, code_of, greedy

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NAN, INFINITY = math.nan, math.inf


class BadInputTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(NodeProcess())
        cls.facts = cls.node.model.GetModel(v1("GetModelRequest"), timeout=10).model

    def tearDown(self):
        self.assertTrue(self.node.answers())
        self.node.wait_until_idle()

    def refused(self, request, field, expected=INVALID):
        """Both ways of asking end with that status, and it names the field."""
        generation, chat = self.node.generation, self.node.chat
        unary, stream = ((chat.Complete, chat.CompleteStream) if request.DESCRIPTOR.name == "CompleteRequest"
                         else (generation.Generate, generation.GenerateStream))
        for ask in (lambda: unary(request, timeout=20), lambda: list(stream(request, timeout=20))):
            code, error = code_of(ask)
            self.assertEqual(code, expected, f"{request}".strip()[:200])
            self.assertTrue(error.details())
            if expected == INVALID and field:
                self.assertIn(field, violations(error), error.details())

    def tokens(self, ids):
        return v1("GenerateRequest", token_ids=v1("TokenIds", ids=ids), stop=v1("StopCondition", max_new_tokens=4))

    def test_prompts_that_are_none(self):
        self.refused(v1("GenerateRequest"), None)
        self.refused(v1("GenerateRequest", token_ids=v1("TokenIds")), "input")

    def test_an_empty_text(self):
        # With a begin-of-sequence token in front, even no text is a prompt of one token.
        ids = self.node.generation.Tokenize(v1("TokenizeRequest", text=""), timeout=10).token_ids
        request = greedy("", 2)
        if ids:
            self.assertEqual(self.node.generation.Generate(request, timeout=20).usage.prompt_tokens, len(ids))
            request.add_special_tokens = False
        self.refused(request, "input")

    def test_token_ids_outside_the_vocabulary(self):
        for bad in (-1, self.facts.vocab_size, 2**31 - 1, -2**31):
            self.refused(self.tokens([1, bad, 2]), "input")

    def test_a_prompt_longer_than_the_context(self):
        for length in (self.facts.context_tokens, self.facts.context_tokens + 1, 1_000_000):
            self.refused(self.tokens([5] * length), "input")
        self.refused(greedy("long " * 200_000, 4), "input")

    def test_sampling_values_outside_their_range(self):
        bad_values = {
            "temperature": (-1, -1e-6, 101, NAN, INFINITY, -INFINITY),
            "top_k": (-1, -2**31),
            "top_p": (0, -0.5, 1.01, NAN, INFINITY),
            "min_p": (-0.1, 1, NAN),
            "repetition_penalty": (0, -1, 101, NAN, INFINITY),
            "presence_penalty": (-2.1, 2.1, NAN),
            "frequency_penalty": (-2.1, 2.1, NAN),
        }
        for name, values in bad_values.items():
            for value in values:
                with self.subTest(field=name, value=value):
                    request = greedy("x", 4)
                    setattr(request.sampling, name, value)
                    self.refused(request, "sampling." + name)

    def test_logit_biases_that_cannot_be_applied(self):
        for token, bias in ((-1, 1.0), (self.facts.vocab_size, 1.0), (1, 101.0), (1, NAN)):
            request = greedy("x", 4)
            request.sampling.logit_bias[token] = bias
            self.refused(request, "sampling.logit_bias")
        request = greedy("x", 4)
        for token in range(1025):
            request.sampling.logit_bias[token] = 1
        self.refused(request, "sampling.logit_bias")

    def test_stop_conditions_that_contradict_themselves(self):
        for name, value in (("max_new_tokens", 0), ("max_new_tokens", -1), ("max_new_tokens", 2**31 - 1), ("min_new_tokens", -1),
                            ("min_new_tokens", 5), ("stop_strings", [""]), ("stop_strings", ["x"] * 17),
                            ("stop_strings", ["x" * 1025]), ("stop_token_ids", [-1]),
                            ("stop_token_ids", [self.facts.vocab_size])):
            with self.subTest(field=name):
                fields = {"max_new_tokens": 4, name: value}
                request = v1("GenerateRequest", text="x", stop=v1("StopCondition", **fields))
                self.refused(request, "stop." + name)

    def test_more_tokens_than_the_context_has_room_for_is_a_wish_and_not_a_fault(self):
        request = greedy("hello", 10 * self.facts.context_tokens)
        request.stop.stop_strings.append("e")
        self.assertGreater(self.node.generation.Generate(request, timeout=60).usage.completion_tokens, 0)

    def test_other_fields_out_of_range(self):
        for name, value in (("priority", 101), ("priority", -101), ("truncate_prompt_tokens", 0),
                            ("truncate_prompt_tokens", -1), ("request_id", "x" * 257)):
            with self.subTest(field=name):
                request = greedy("x", 4)
                setattr(request, name, value)
                self.refused(request, name)
        request = greedy("x", 4)
        request.logprobs.top = 21
        self.refused(request, "logprobs.top")

    def test_text_that_is_not_utf8(self):
        # A correct client cannot send it: field 3 (`text`) by hand, with a lone continuation byte.
        call = self.node.channel.unary_unary("/switchyard.v1.GenerationService/Generate")
        for text in (b"\x80", b"\xff\xfe", b"ab\xc3", b"\xed\xa0\x80"):
            code, _ = code_of(lambda text=text: call(b"\x1a" + bytes([len(text)]) + text, timeout=10))
            self.assertIn(code, (INVALID, grpc.StatusCode.INTERNAL))

    def test_bytes_that_are_no_message(self):
        for method in ("GenerationService/Generate", "ChatService/Complete", "GenerationService/Tokenize"):
            call = self.node.channel.unary_unary(f"/switchyard.v1.{method}")
            for data in (b"\xff" * 50, b"\x1a\xff\xff\xff\xff\x0f", b"\x0b" * 1000):
                code, _ = code_of(lambda call=call, data=data: call(data, timeout=10))
                self.assertNotEqual(code, grpc.StatusCode.OK)
                self.assertNotEqual(code, grpc.StatusCode.UNAVAILABLE)

    def test_a_model_that_is_not_here(self):
        request = greedy("x", 4)
        request.model = "gpt-17"
        self.refused(request, None, grpc.StatusCode.NOT_FOUND)
        for ask in (lambda: self.node.model.GetModel(v1("GetModelRequest", model="gpt-17"), timeout=5),
                    lambda: self.node.generation.Tokenize(v1("TokenizeRequest", model="gpt-17"), timeout=5)):
            self.assertEqual(code_of(ask)[0], grpc.StatusCode.NOT_FOUND)

    def test_a_method_that_is_not_here(self):
        for path in ("/switchyard.v1.GenerationService/Dream", "/switchyard.v9.GenerationService/Generate", "/x"):
            code, _ = code_of(lambda path=path: self.node.channel.unary_unary(path)(b"", timeout=5))
            self.assertEqual(code, grpc.StatusCode.UNIMPLEMENTED)

    def test_conversations_that_are_none(self):
        self.refused(v1("CompleteRequest"), "chat.messages")
        self.refused(v1("CompleteRequest", chat=v1("ChatInput")), "chat.messages")
        self.refused(v1("GenerateRequest", chat=v1("ChatInput")), "chat.messages")
        nobody = v1("ChatMessage", role="", content="x")
        self.refused(v1("CompleteRequest", chat=v1("ChatInput", messages=[nobody])), "chat.messages.role")

    def test_a_conversation_that_the_template_refuses(self):
        strange = v1("ChatInput", messages=[v1("ChatMessage", role="user", content="x")])
        strange.template_arguments["messages"] = 3  # the template expects a list
        code, error = code_of(lambda: self.node.generation.RenderChat(v1("RenderChatRequest", chat=strange), timeout=10))
        self.assertIn(code, (INVALID, grpc.StatusCode.FAILED_PRECONDITION), error)

    def test_a_conversation_as_deep_as_protobuf_allows(self):
        chat = v1("ChatInput", messages=[v1("ChatMessage", role="user", content="x")])
        nested = chat.template_arguments
        for _ in range(30):  # each is three messages deep, and some Pythons make at most a hundred
            nested = nested.get_or_create_struct("deeper")
        ask = v1("CompleteRequest", chat=chat, stop=v1("StopCondition", max_new_tokens=2))
        code, _ = code_of(lambda: self.node.chat.Complete(ask, timeout=20))
        self.assertIn(code, (grpc.StatusCode.OK, INVALID))

    def test_tokens_that_cannot_be_text(self):
        for bad in (-1, self.facts.vocab_size):
            code, error = code_of(lambda bad=bad: self.node.generation.Detokenize(
                v1("DetokenizeRequest", token_ids=[bad]), timeout=5))
            self.assertEqual(code, INVALID)
            self.assertIn("token_ids", violations(error))


if __name__ == "__main__":
    unittest.main(verbosity=2)
