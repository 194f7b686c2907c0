"""What a kernel image says to Xen: its notes, or the __xen_guest string of older kernels."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import unpack_from

from xenia.abi.elfnote import NOTE_NAME, ElfNote
from xenia.abi.features import Feature
from xenia.errors import ConfigError

# What Xen grants a PV guest on request.  A kernel that requires anything else cannot run as one.
GRANTABLE = frozenset(
    {
        Feature.writable_page_tables,
        Feature.writable_descriptor_tables,
        Feature.pae_pgdir_above_4gb,
        Feature.mmu_pt_update_preserve_ad,
        Feature.highmem_assist,
        Feature.gnttab_map_avail_bits,
    }
)


@dataclass
class KernelNotes:
    """The kernel's words to Xen (public/elfnote.h); None or "" where it says nothing.

    Addresses are virtual, in bytes.  `required` and `supported` hold feature names; `supported` includes the required
    ones.  `l1_mfn_valid` is a list of (mask, value) pairs.  `legacy`: they come from a __xen_guest section.
    """

    legacy: bool = False
    entry: int | None = None
    hypercall_page: int | None = None
    virt_base: int | None = None
    paddr_offset: int | None = None
    init_p2m: int | None = None
    hv_start_low: int | None = None
    phys32_entry: int | None = None
    mod_start_pfn: bool = False
    suspend_cancel: bool = False
    bsd_symtab: bool = False
    guest_os: str = ""
    guest_version: str = ""
    xen_version: str = ""
    loader: str = ""
    pae_mode: str = ""
    required: frozenset[str] = frozenset()
    supported: frozenset[str] = frozenset()
    l1_mfn_valid: list[tuple[int, int]] = field(default_factory=list)
    info: list[str] = field(default_factory=list)

    def add_features(self, text: str) -> None:
        """Take the names of a FEATURES string: separated by '|', the required ones marked with '!'."""
        names = [name.strip() for name in text.split("|") if name.strip()]
        self.required |= {name[1:] for name in names if name.startswith("!")}
        self.supported |= {name.removeprefix("!") for name in names}

    def why_not_pv(self) -> str | None:
        """None if a 64-bit image with these notes can run as a PV guest, else the reason why not."""
        if self.entry is None and self.virt_base is None and self.phys32_entry is not None:
            return "built for PVH only (it has a PHYS32_ENTRY note, but no ENTRY: CONFIG_XEN_PV is off)"
        if self.xen_version and not self.xen_version.startswith("xen-3"):
            return f"built for {self.xen_version}, not for xen-3.0"
        if self.loader and self.loader != "generic":
            return f"asks for a loader of the kind {self.loader!r}; only 'generic' exists"
        refused = sorted(self.required - {feature.name for feature in GRANTABLE})
        if refused:
            return f"requires {', '.join(refused)}, which no PV guest gets"
        return None


def iterate_notes(segment: memoryview) -> Iterator[tuple[bytes, int, memoryview]]:
    """The (name, type, descriptor) triples of a note segment, up to the first damaged one."""
    position = 0
    while position + 12 <= len(segment):
        name_size, size, kind = unpack_from("<III", segment, position)
        name = position + 12
        start = name + (name_size + 3 & ~3)
        if start + size > len(segment):
            return
        yield bytes(segment[name : name + name_size]), kind, segment[start : start + size]
        position = start + (size + 3 & ~3)


def parse_note_segments(segments: list[memoryview], name: str) -> KernelNotes | None:
    """The Xen notes among the given segments; None if there are none."""
    notes = KernelNotes()
    found = False
    for segment in segments:
        for owner, kind, descriptor in iterate_notes(segment):
            if owner == NOTE_NAME:
                found = True
                _take_note(notes, kind, descriptor, name)
    return notes if found else None


def _take_note(notes: KernelNotes, kind: int, descriptor: memoryview, name: str) -> None:
    match kind:
        case ElfNote.INFO:
            notes.info.append(_text(descriptor))
        case ElfNote.ENTRY:
            notes.entry = _number(descriptor, name)
        case ElfNote.HYPERCALL_PAGE:
            notes.hypercall_page = _number(descriptor, name)
        case ElfNote.VIRT_BASE:
            notes.virt_base = _number(descriptor, name)
        case ElfNote.PADDR_OFFSET:
            notes.paddr_offset = _number(descriptor, name)
        case ElfNote.XEN_VERSION:
            notes.xen_version = _text(descriptor)
        case ElfNote.GUEST_OS:
            notes.guest_os = _text(descriptor)
        case ElfNote.GUEST_VERSION:
            notes.guest_version = _text(descriptor)
        case ElfNote.LOADER:
            notes.loader = _text(descriptor)
        case ElfNote.PAE_MODE:
            notes.pae_mode = _text(descriptor)
        case ElfNote.FEATURES:
            notes.add_features(_text(descriptor))
        case ElfNote.BSD_SYMTAB:
            notes.bsd_symtab = _text(descriptor).startswith("yes")
        case ElfNote.HV_START_LOW:
            notes.hv_start_low = _number(descriptor, name)
        case ElfNote.L1_MFN_VALID:
            whole = descriptor[: len(descriptor) & ~15]
            notes.l1_mfn_valid = [unpack_from("<QQ", whole, at) for at in range(0, len(whole), 16)]
        case ElfNote.SUSPEND_CANCEL:
            notes.suspend_cancel = _number(descriptor, name) != 0
        case ElfNote.INIT_P2M:
            notes.init_p2m = _number(descriptor, name)
        case ElfNote.MOD_START_PFN:
            notes.mod_start_pfn = _number(descriptor, name) != 0
        case ElfNote.SUPPORTED_FEATURES:
            bits = _number(descriptor, name)
            notes.supported |= {feature.name for feature in Feature if bits >> feature & 1}
        case ElfNote.PHYS32_ENTRY:
            notes.phys32_entry = _number(descriptor, name)


def parse_legacy_section(section: memoryview, name: str) -> KernelNotes:
    """The words of a __xen_guest section: NAME=VALUE pairs separated by commas."""
    notes = KernelNotes(legacy=True)
    hypercall_pfn = None
    for pair in _text(section).split(","):
        key, _, value = pair.strip().partition("=")
        match key:
            case "VIRT_ENTRY":
                notes.entry = _legacy_number(value, name)
            case "HYPERCALL_PAGE":
                hypercall_pfn = _legacy_number(value, name)
            case "VIRT_BASE":
                notes.virt_base = _legacy_number(value, name)
            case "ELF_PADDR_OFFSET":
                notes.paddr_offset = _legacy_number(value, name)
            case "INIT_P2M":
                notes.init_p2m = _legacy_number(value, name)
            case "XEN_VER":
                notes.xen_version = value
            case "GUEST_OS":
                notes.guest_os = value
            case "GUEST_VER":
                notes.guest_version = value
            case "LOADER":
                notes.loader = value
            case "PAE":
                notes.pae_mode = value
            case "FEATURES":
                notes.add_features(value)
            case "BSD_SYMTAB":
                notes.bsd_symtab = True
    if hypercall_pfn is not None:  # the legacy value is a page number, counted from the start of the region
        notes.hypercall_page = (notes.virt_base or 0) + (hypercall_pfn << 12)
    return notes


def _number(descriptor: memoryview, name: str) -> int:
    if len(descriptor) not in (4, 8):
        raise ConfigError(f"{name}: a numeric Xen note of {len(descriptor)} bytes")
    return int.from_bytes(descriptor, "little")


def _legacy_number(text: str, name: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} in its __xen_guest section is not a number") from None
    if not 0 <= value < 1 << 64:
        raise ConfigError(f"{name}: {text!r} in its __xen_guest section is not a 64-bit number")
    return value


def _text(descriptor: memoryview) -> str:
    return bytes(descriptor).split(b"\0", 1)[0].decode("ascii", "replace")
