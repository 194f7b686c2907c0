import os
import threading

from xenia.machine.loop import Loop, Source
from xenia.net.thread import LinkThread


def test_a_loop_ends_when_it_is_told_to() -> None:
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    source = Source()
    loop.add(source)
    loop.remove(source)
    loop.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_links_thread_that_is_closed_gives_its_descriptor_back_whoever_still_knows_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    thread = LinkThread()
    thread.close()
    thread.close()
    assert len(os.listdir("/proc/self/fd")) == before
