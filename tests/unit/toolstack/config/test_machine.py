import pytest
from hypothesis import given, strategies as st

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB, MachineConfig, format_size, host_memory, parse_size


@given(st.integers(min_value=0, max_value=1 << 41))
def test_a_formatted_size_reads_back_as_the_same_number_of_kibibytes(kib: int) -> None:
    assert parse_size(format_size(kib << 10)) == kib << 10


def test_a_guest_larger_than_its_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"memory 512M does not fit into the machine's 256M \(--machine-memory\)"):
        MachineConfig(memory=512 * MIB, machine_memory=256 * MIB)


def test_a_machine_larger_than_the_host_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than this host has"):
        MachineConfig(memory=host_memory() + 4096)


def test_a_guest_without_room_for_a_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory 1M: a guest needs 4M"):
        MachineConfig(memory=MIB)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "é", "x" * 65, "a\n"])
def test_a_name_that_could_not_be_typed_or_stored_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        MachineConfig(name=name)


def test_a_command_and_an_initrd_of_the_operators_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="'echo hi' runs in Xenia's own initramfs"):
        MachineConfig(initrd="initrd.img", command=("echo", "hi"))


def test_the_demo_guest_runs_no_commands_and_takes_no_initrd() -> None:
    with pytest.raises(ConfigError, match="takes no command"):
        MachineConfig(flavour="demo", command=("true",))
    with pytest.raises(ConfigError, match="takes no initrd"):
        MachineConfig(kernel="demo", initrd="initrd.img")


def test_a_kernel_beside_the_demo_flavour_is_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        MachineConfig(flavour="demo", kernel="vmlinuz")


def test_a_guest_of_so_many_bytes_is_told_how_to_write_mebibytes() -> None:
    with pytest.raises(ConfigError, match=r"a bare number is bytes; 512 MiB are 512M"):
        MachineConfig(memory=512)


@pytest.mark.parametrize("name", ["", "A=B"])
def test_a_variable_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="names no variable"):
        MachineConfig(environment={name: "x"})


def test_a_folder_is_named_from_the_root_on() -> None:
    with pytest.raises(ConfigError, match="from the guest's root on"):
        MachineConfig(directory="tmp")


def test_an_environment_is_for_what_xenia_starts_itself() -> None:
    with pytest.raises(ConfigError, match="not for --initrd or 'demo'"):
        MachineConfig(kernel="demo", environment={"A": "x"})
