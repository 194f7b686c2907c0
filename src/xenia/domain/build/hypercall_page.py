"""The hypercall transfer page (public/arch-x86/xen-x86_64.h): a guest calls the stub at n * 32 to make hypercall n."""

from typing import Final

STUB_SIZE: Final = 32
PAGE_SIZE: Final = 4096
HYPERVISOR_IRET: Final = 23

_INT3 = b"\xcc"  # whatever is not a stub traps
_PUSH_RCX, _PUSH_R11, _PUSH_RAX = b"\x51", b"\x41\x53", b"\x50"
_POP_R11, _POP_RCX = b"\x41\x5b", b"\x59"
_MOV_EAX, _SYSCALL, _RET = b"\xb8", b"\x0f\x05", b"\xc3"


def hypercall_page() -> bytes:
    """The page's 4096 bytes.

    `syscall` destroys rcx and r11, so a stub keeps them on the stack around it.  `iret` never returns: its stub leaves
    them on the stack, with rax on top, as the start of the frame that Xen reads.
    """
    return b"".join(_stub(number).ljust(STUB_SIZE, _INT3) for number in range(PAGE_SIZE // STUB_SIZE))


def _stub(number: int) -> bytes:
    call = _MOV_EAX + number.to_bytes(4, "little") + _SYSCALL
    if number == HYPERVISOR_IRET:
        return _PUSH_RCX + _PUSH_R11 + _PUSH_RAX + call
    return _PUSH_RCX + _PUSH_R11 + call + _POP_R11 + _POP_RCX + _RET
