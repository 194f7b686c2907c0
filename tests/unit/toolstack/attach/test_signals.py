import os
import select
import signal

from xenia.toolstack.attach.signals import Signals


def test_a_signal_becomes_readable_and_does_nothing_else() -> None:
    with Signals(signal.SIGTERM, signal.SIGHUP) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert select.select([signals], [], [], 30)[0]
        assert sorted(signals.take()) == [signal.SIGHUP, signal.SIGTERM]
        assert signals.take() == []


def test_handlers_return_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals(signal.SIGTERM):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(signal.SIGHUP) as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.take() == []
    finally:
        signal.signal(signal.SIGHUP, before)
