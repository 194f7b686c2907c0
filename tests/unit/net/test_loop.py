import threading

from xenia.net.loop import Loop, Source


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
