from xenia.net.port import Port
from xenia.testing.net import Behind, Card
from xenia.testing.packet import Packet

LONG = Packet(bytes(range(256)) * 20, flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)


def test_what_is_sent_goes_in_and_what_comes_is_delivered() -> None:
    behind = Behind()
    card = Card(behind)
    assert card.send(b"a" * 60, LONG) == 2
    assert behind.sent == [Packet(b"a" * 60), LONG]
    behind.come(LONG)
    assert card.received == [LONG]


def test_a_port_takes_what_it_has_room_for_and_says_when_there_is_more() -> None:
    behind = Behind(room=1)
    card = Card(behind)
    assert card.send(b"a" * 60, b"b" * 60) == 1
    assert card.nr_ready == 0
    behind.make_room(None)
    assert card.nr_ready == 1


def test_who_left_a_port_hears_nothing_and_another_may_come() -> None:
    behind = Behind()
    first = Card(behind)
    first.close()
    behind.come(LONG)
    second = Card(behind)
    behind.come(LONG)
    assert not first.received
    assert second.received == [LONG]


def test_a_port_with_nothing_behind_it_takes_all() -> None:
    assert Card(Port()).send(b"a" * 60) == 1
