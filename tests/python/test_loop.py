"""The whole loop through the wheel, with the real interpreter: chat, stream, cancel, signals,
training, adapters, rollback, errors, a panic, threads, keys, recording without a model.

    ADAPTER=adapter.gguf python -m unittest tests/python/test_loop.py
"""

import datetime
import gc
import hashlib
import hmac
import json
import os
import resource
import tempfile
import threading
import typing
import unittest

import sapwood
from sapwood import Config, Consent, DeviceState, Erasure, IdlePolicy, KeyProviderError
from sapwood import LearnerError, Sampling, Scope, Signal, StopReason, StopToken, Thermal, TrainPolicy

KEY = bytes(range(32))
GREEDY = Sampling(temperature=0.0, max_tokens=8)
LONG = datetime.timedelta(minutes=10)
SHORT_RUN = TrainPolicy(
    examples=1,
    conversations=1,
    cooldown=datetime.timedelta(0),
    steps=4,
    batch=3,
    checkpoint_steps=1,
)


def ask(learner, text, sampling=GREEDY):
    *pieces, done = sapwood.stream(learner.chat("triage"), text, sampling)
    assert done.is_done(), done
    assert "".join(piece.delta for piece in pieces) == done.reply.text
    return done.reply


class KeyStore(sapwood.KeyProvider):
    """Keys in memory: what it destroys is gone."""

    def __init__(self):
        self.keys = {}
        self.refusal = None

    def create_epoch(self, epoch):
        self._refuse()
        self.keys[epoch] = os.urandom(32)

    def wrap(self, epoch, secret):
        self._refuse()
        salt = os.urandom(16)
        sealed = bytes(map(int.__xor__, secret, self._sum(epoch, b"stream" + salt)))
        return salt + sealed + self._sum(epoch, salt + sealed)

    def unwrap(self, epoch, wrapped):
        self._refuse()
        salt, sealed, tag = wrapped[:16], wrapped[16:48], wrapped[48:]
        if epoch not in self.keys or not hmac.compare_digest(tag, self._sum(epoch, salt + sealed)):
            raise KeyProviderError.Permanent()
        return bytes(map(int.__xor__, sealed, self._sum(epoch, b"stream" + salt)))

    def destroy_epoch(self, epoch):
        self._refuse()
        self.keys.pop(epoch, None)

    def _sum(self, epoch, text):
        return hmac.digest(self.keys[epoch], text, hashlib.sha256)

    def _refuse(self):
        if self.refusal:
            raise self.refusal


class Loop(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def open(self, **settings):
        config = dict(folder=self.folder.name, key=KEY, context_tokens=512, training=SHORT_RUN)
        return sapwood.Learner.open(Config(**{**config, **settings}))

    def taught(self):
        learner = self.open(retrieval=False)
        learner.set_consent(Consent.GRANTED)
        for n in range(12):
            reply = ask(learner, f"Triage: parcel number {n} has not arrived")
            learner.signal(reply.id, Signal.EDITED(text="logistics"))
        return learner

    def test_a_reply_streams_and_names_what_made_it(self):
        reply = ask(self.open(), "Triage: I want my money back", Sampling(temperature=0.0))
        self.assertEqual(reply.text, "returns")
        self.assertEqual((reply.stop, reply.adapter, reply.retrieved), (StopReason.END, None, 0))
        self.assertEqual(len(reply.id), 32)

    def test_nothing_is_kept_without_consent(self):
        learner = self.open()
        self.assertEqual(learner.consent(), Consent.UNASKED)
        learner.signal(ask(learner, "Triage: it crashes").id, Signal.ACCEPTED())
        self.assertEqual(learner.samples(), [])
        learner.set_consent(Consent.GRANTED)
        reply = ask(learner, "Triage: it crashes")
        learner.signal(reply.id, Signal.RATED(good=False))
        (sample,) = learner.samples()
        self.assertEqual((sample.reply_id, sample.reply), (reply.id, reply.text))
        self.assertTrue(sample.signals[0].is_rated())
        age = datetime.datetime.now(datetime.timezone.utc) - sample.time
        self.assertLess(abs(age), datetime.timedelta(minutes=5))

    def test_cancelling_ends_a_reply_and_leaves_the_chat_usable(self):
        chat = self.open().chat("mail")
        endless = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, max_tokens=400)
        generation = chat.respond("Reply (friendly): tell me everything", endless)
        with self.assertRaises(LearnerError.Busy):
            chat.respond("Triage: at the same time", GREEDY)
        generation.cancel()
        last = None
        while (event := generation.next()) is not None:
            last = event
        self.assertEqual(last.reply.stop, StopReason.CANCELLED)
        self.assertIsNone(generation.next())
        for _ in sapwood.stream(chat, "Triage: it crashes", GREEDY):
            break  # leaving the loop cancels
        self.assertTrue(chat.respond("Triage: it crashes", GREEDY))

    def test_a_reply_cancelled_before_its_first_token_was_never_asked_for(self):
        learner = self.open()
        learner.set_consent(Consent.GRANTED)
        chat = learner.chat("mail")
        generation = chat.respond("Reply (friendly): " + "tell me everything " * 30, GREEDY)
        generation.cancel()
        reply = generation.next().reply
        self.assertEqual((reply.stop, reply.tokens, reply.text), (StopReason.CANCELLED, 0, ""))
        self.assertGreater(reply.prompt_tokens, 30)
        self.assertEqual(learner.samples(), [])
        with self.assertRaises(LearnerError.NotFound):
            chat.regenerate()

    def test_training_keeps_within_its_memory_and_says_so(self):
        learner = self.open(idle=IdlePolicy(memory_bytes=1 << 20))
        waiting = learner.train_slice(LONG)
        self.assertEqual(waiting.outcome.holds, [sapwood.Hold.TOO_LITTLE_MEMORY])
        self.assertIn("allow it more memory", waiting.summary)
        lenient = IdlePolicy(need_charging=False, need_idle=False, hottest=Thermal.CRITICAL)
        learner = self.open(idle=lenient)
        learner.device_changed(DeviceState(charging=False, idle=False, thermal=Thermal.SERIOUS))
        self.assertNotIn(sapwood.Hold.IN_USE, learner.train_slice(LONG).outcome.holds)
        with self.assertRaises(LearnerError.Invalid):
            self.open(idle=IdlePolicy(cpu_share=0.0))

    def test_the_loop_trains_and_goes_back(self):
        learner = self.taught()
        learner.device_changed(DeviceState(charging=False, idle=True, thermal=Thermal.NOMINAL))
        waiting = learner.train_slice(LONG)
        self.assertEqual(waiting.outcome.holds, [sapwood.Hold.NOT_CHARGING])
        learner.device_changed(DeviceState(charging=True, idle=True, thermal=Thermal.NOMINAL))
        stop = StopToken()
        stop.request()
        self.assertTrue(learner.train_slice(LONG, stop).outcome.is_paused())
        while (report := learner.train_slice(LONG)).outcome.is_paused():
            pass
        self.assertEqual((report.step, report.steps, len(report.losses)), (4, 4, 4))
        self.assertTrue(report.outcome.is_promoted() or report.outcome.is_rejected(), report.summary)
        self.assertGreaterEqual(len(learner.adapters()), 1)

    def test_an_adapter_from_elsewhere_is_staged_used_and_taken_back(self):
        path = os.environ.get("ADAPTER")
        if not path:
            self.skipTest("ADAPTER names no adapter file")
        learner = self.open()
        with open(path, "rb") as file:
            adapter = learner.stage(file.read())
        learner.activate(adapter)
        self.assertEqual(ask(learner, "Triage: it crashes").adapter, adapter)
        self.assertEqual([known.in_force for known in learner.adapters()], [True])
        self.assertEqual(learner.rollback(), adapter)
        self.assertIsNone(ask(learner, "Triage: it crashes").adapter)
        with self.assertRaises(LearnerError.NotFound):
            learner.activate(adapter)
        with open(path, "rb") as file, self.assertRaises(LearnerError.Adapter):
            learner.stage(file.read())

    def test_a_process_without_a_model_records_beside_the_learner(self):
        learner = self.open()
        capture = sapwood.Capture.open(Config(folder=self.folder.name, key=KEY))
        asked = sapwood.Message(role=sapwood.Role.USER, content="Tuesday?")
        shown = sapwood.Shown(surface="mail", turns=[asked], reply="Fine, Tuesday then.")
        self.assertIsNone(capture.reply(shown))
        learner.set_consent(Consent.GRANTED)
        reply = capture.reply(shown)
        capture.signal(reply, Signal.EDITED(text="Tuesday is fine."))
        capture.flush()
        learner.signal(reply, Signal.ACCEPTED())
        (sample,) = learner.samples()
        self.assertEqual((sample.reply_id, sample.reply), (reply, shown.reply))
        self.assertTrue(sample.signals[0].is_edited() and sample.signals[1].is_accepted())
        with self.assertRaises(LearnerError.NotFound):
            capture.signal("0" * 32, Signal.ACCEPTED())

    def test_a_model_is_imported_or_refused_with_a_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "text.gguf")
            with open(source, "w", encoding="utf-8") as file:
                file.write("this is a text and not a model")
            for take in sapwood.Take.LINK, sapwood.Take.COPY:
                with self.assertRaises(LearnerError.Model):
                    sapwood.import_model(source, os.path.join(folder, "models"), take)
            self.assertEqual(os.listdir(os.path.join(folder, "models")), [])
            whole = os.environ.get("ADAPTER")
            if not whole:
                self.skipTest("ADAPTER names no GGUF file")
            imported = sapwood.import_model(whole, folder, sapwood.Take.COPY)
            self.assertEqual(os.path.basename(imported.path), imported.digest + ".gguf")

    def test_all_that_is_kept_is_handed_over(self):
        learner = self.taught()
        with tempfile.TemporaryDirectory() as folder:
            exported = learner.export_data(folder)
            self.assertEqual((exported.turns, exported.unreadable_records), (12, 0))
            with open(os.path.join(folder, "turns.json"), encoding="utf-8") as file:
                turns = json.load(file)
            self.assertEqual({turn["surface"] for turn in turns}, {"triage"})
            with self.assertRaises(LearnerError.Storage):
                learner.export_data(folder)

    def test_what_is_forgotten_is_gone_with_what_learned_from_it(self):
        learner = self.taught()
        kept = learner.samples()
        receipt = learner.forget(Scope.REPLY(reply_id=kept[0].reply_id))
        self.assertEqual((receipt.replies, receipt.adapters), ([kept[0].reply_id], []))
        self.assertEqual(receipt.erasure, Erasure.DELETED)
        with self.assertRaises(LearnerError.NotFound):
            learner.signal(kept[0].reply_id, Signal.ACCEPTED())
        receipt = learner.forget(Scope.CONVERSATION(conversation=kept[1].conversation))
        self.assertEqual(receipt.replies, [kept[1].reply_id])
        learner.forget(Scope.EVERYTHING())
        self.assertEqual(learner.samples(), [])
        self.assertEqual(self.open().samples(), [])

    def told(self, keys):
        """A learner on a key store of its own, and two replies that it keeps."""
        learner = self.open(key=None, key_provider=keys)
        learner.set_consent(Consent.GRANTED)
        return learner, [ask(learner, f"Triage: parcel {n} is late").id for n in range(2)]

    def test_what_is_forgotten_loses_its_key(self):
        keys = KeyStore()
        learner, (first, second) = self.told(keys)
        self.assertEqual(list(keys.keys), [1])
        receipt = learner.forget(Scope.REPLY(reply_id=first))
        self.assertEqual((receipt.erasure, list(keys.keys)), (Erasure.SHREDDED, [2]))
        del learner
        gc.collect()
        kept = self.open(key=None, key_provider=keys).samples()
        self.assertEqual([sample.reply_id for sample in kept], [second])

    def test_a_key_store_that_is_locked_costs_nothing(self):
        keys = KeyStore()
        learner, (first, second) = self.told(keys)
        keys.refusal = KeyProviderError.Unavailable()
        receipt = learner.forget(Scope.REPLY(reply_id=first))
        self.assertEqual((receipt.erasure, list(keys.keys)), (Erasure.PENDING, [1]))
        del learner
        gc.collect()
        with self.assertRaisesRegex(LearnerError.Busy, "try again when the device is unlocked"):
            self.open(key=None, key_provider=keys)
        keys.refusal = None
        learner = self.open(key=None, key_provider=keys)
        self.assertEqual([sample.reply_id for sample in learner.samples()], [second])
        learner.train_slice(datetime.timedelta(0))
        self.assertEqual(list(keys.keys), [2], "the slice ended what was asked for")

    def test_what_a_key_provider_throws_is_told_with_what_to_do(self):
        keys = KeyStore()
        self.told(keys)
        gc.collect()
        cases = [
            (KeyProviderError.Permanent(), LearnerError.Key, "move the folder away"),
            (KeyProviderError.Denied(), LearnerError.Busy, "ask the user"),
            (ZeroDivisionError("told nobody"), LearnerError.Invalid, "correct it"),
        ]
        for keys.refusal, kind, advice in cases:
            with self.subTest(kind.__name__), self.assertRaisesRegex(kind, advice) as caught:
                self.open(key=None, key_provider=keys)
            self.assertNotIn("told nobody", str(caught.exception))
        keys.refusal, keys.unwrap = None, lambda epoch, wrapped: b"short"
        with self.assertRaisesRegex(LearnerError.Invalid, "correct it"):
            self.open(key=None, key_provider=keys)
        del keys.unwrap
        self.assertEqual(len(self.open(key=None, key_provider=keys).samples()), 2)

    def test_a_passphrase_opens_what_it_sealed(self):
        self.open(key=None, passphrase="heartwood").set_consent(Consent.GRANTED)
        gc.collect()
        with self.assertRaises(LearnerError.Key):
            self.open(key=None, passphrase="heartwoof")
        again = self.open(key=None, passphrase="heartwood")
        self.assertEqual(again.consent(), Consent.GRANTED)
        for settings in ({"passphrase": "heartwood"}, {"key": None}):
            with self.assertRaisesRegex(LearnerError.Invalid, "one of key"):
                self.open(**settings)

    def test_errors_are_typed_explained_and_numbered(self):
        learner = self.open()
        cases = [
            (LearnerError.Invalid, 1, lambda: self.open(key=b"short")),
            (LearnerError.Invalid, 1, lambda: learner.signal("?", Signal.ACCEPTED())),
            (LearnerError.Invalid, 1, lambda: ask(learner, "x", Sampling(top_p=2.0))),
            (LearnerError.TooLong, 2, lambda: ask(learner, "x" * 9999)),
            (LearnerError.NotFound, 3, lambda: learner.rollback()),
            (LearnerError.Model, 5, lambda: self.open(model="/nowhere.gguf")),
            (LearnerError.Adapter, 6, lambda: learner.stage(b"no adapter")),
            (LearnerError.Key, 7, lambda: self.open(key=bytes(32))),
            (LearnerError.Storage, 8, lambda: self.open(folder="/proc/nothing/here")),
        ]
        for kind, code, call in cases:
            with self.subTest(kind.__name__), self.assertRaises(kind) as caught:
                call()
            self.assertEqual(caught.exception.code(), code)
            self.assertIsInstance(caught.exception, LearnerError.__mro__[0])
            self.assertNotIn("detail=", str(caught.exception))
            self.assertGreater(len(str(caught.exception)), 5)

    def test_a_panic_is_an_error_and_the_learner_opens_again(self):
        learner = self.open()
        if not hasattr(learner, "panic_inside"):
            self.skipTest("the wheel was built without the feature faults")
        with self.assertRaises(LearnerError.Fault) as caught:
            learner.panic_inside()
        self.assertEqual(caught.exception.code(), 9)
        for call in (learner.samples, learner.flush, lambda: learner.chat("x")):
            with self.assertRaises(LearnerError.Fault):
                call()
        self.assertEqual(ask(self.open(), "Triage: I want my money back").text, "returns")

    def test_replies_go_on_while_a_slice_trains(self):
        learner = self.taught()
        slices = []
        training = threading.Thread(target=lambda: slices.append(learner.train_slice(LONG)))
        training.start()
        replies = [ask(learner, "Triage: it crashes") for _ in range(5)]
        training.join()
        self.assertEqual(len({reply.id for reply in replies}), 5)
        self.assertEqual(slices[0].step, 4)

    def test_many_replies_take_no_more_memory_than_few(self):
        learner = self.open()
        sampling = Sampling(temperature=0.0, max_tokens=1, record=False)

        def peak(replies):
            for _ in range(replies):
                ask(learner, "Triage: it crashes", sampling)
            gc.collect()
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        few = peak(100)
        grown = peak(500) - few
        self.assertLess(grown, 4096, f"{grown} KiB more")

    def test_everything_has_type_hints(self):
        for name in ("Learner", "Chat", "Generation", "StopToken"):
            for method, function in vars(getattr(sapwood, name)).items():
                if callable(function) and not method.startswith("_"):
                    hints = typing.get_type_hints(function, vars(sapwood._generated))
                    self.assertIn("return", hints, f"{name}.{method}")


if __name__ == "__main__":
    unittest.main()
