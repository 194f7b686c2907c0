"""Xenia: a paravirtualising hypervisor that boots stock Linux kernels as Xen PV guests in an unprivileged process.

For example:
    from xenia import Machine

    with Machine(Machine.memory_for(256 << 20)) as machine:
        domain = machine.create_domain("vmlinuz", initrd="initrd.img", cmdline="console=hvc0", console=1)
        domain.start()
        print(domain.wait())
"""

from __future__ import annotations

# To a type checker it is true.  What is imported here, the command waits for before it hears of Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from xenia.errors import ConfigError, DomainCrash, GuestFault, HypervisorBug, XenError
    from xenia.shutdown import Reason, Shutdown
    from xenia.toolstack.machine.domain import Domain
    from xenia.toolstack.machine.machine import Machine
    from xenia.toolstack.scripting.run import Result, run

__all__ = [
    "ConfigError",
    "Domain",
    "DomainCrash",
    "GuestFault",
    "HypervisorBug",
    "Machine",
    "Reason",
    "Result",
    "Shutdown",
    "XenError",
    "run",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name in ("Reason", "Shutdown"):
        from xenia import shutdown

        return getattr(shutdown, name)
    if name in __all__ and name not in ("Machine", "Domain", "run", "Result"):
        from xenia import errors

        return getattr(errors, name)
    # The compiled core is loaded when it is first wanted: `xenia --help` does without.
    if name in ("Machine", "Domain"):
        from xenia.toolstack.isolation import isolated
        from xenia.toolstack.machine import domain, machine
        from xenia.toolstack.scripting import boot

        assert isolated and boot  # which make themselves known to Machine
        return machine.Machine if name == "Machine" else domain.Domain
    if name in ("run", "Result"):
        from xenia.toolstack.scripting import run

        return getattr(run, name)
    raise AttributeError(f"module 'xenia' has no attribute {name!r}")
