"""public/physdev.h.

Written by scripts/abi.py from physdev.pxd: do not edit.
"""

from struct import Struct
from typing import Final

PHYSDEVOP_IRQ_UNMASK_NOTIFY: Final = 4
PHYSDEVOP_irq_status_query: Final = 5
PHYSDEVOP_set_iopl: Final = 6
PHYSDEVOP_set_iobitmap: Final = 7
PHYSDEVOP_apic_read: Final = 8
PHYSDEVOP_apic_write: Final = 9
PHYSDEVOP_alloc_irq_vector: Final = 10
PHYSDEVOP_free_irq_vector: Final = 11
PHYSDEVOP_eoi: Final = 12
PHYSDEVOP_map_pirq: Final = 13
PHYSDEVOP_unmap_pirq: Final = 14
PHYSDEVOP_manage_pci_add: Final = 15
PHYSDEVOP_manage_pci_remove: Final = 16
PHYSDEVOP_pirq_eoi_gmfn_v1: Final = 17
PHYSDEVOP_restore_msi: Final = 19
PHYSDEVOP_manage_pci_add_ext: Final = 20
PHYSDEVOP_setup_gsi: Final = 21
PHYSDEVOP_get_free_pirq: Final = 23
PHYSDEVOP_pci_mmcfg_reserved: Final = 24
PHYSDEVOP_pci_device_add: Final = 25
PHYSDEVOP_pci_device_remove: Final = 26
PHYSDEVOP_restore_msi_ext: Final = 27
PHYSDEVOP_pirq_eoi_gmfn_v2: Final = 28
PHYSDEVOP_dbgp_op: Final = 29
PHYSDEVOP_prepare_msix: Final = 30
PHYSDEVOP_release_msix: Final = 31
XENIRQSTAT_needs_eoi: Final = 1 << 0

PHYSDEV_EOI: Final = Struct("<I")  # irq
PHYSDEV_PIRQ_EOI_GMFN: Final = Struct("<Q")  # gmfn
PHYSDEV_IRQ_STATUS_QUERY: Final = Struct("<II")  # irq, flags
PHYSDEV_SET_IOPL: Final = Struct("<I")  # iopl
PHYSDEV_SET_IOBITMAP: Final = Struct("<QI4x")  # bitmap, nr_ports
PHYSDEV_APIC: Final = Struct("<QII")  # apic_physbase, reg, value
PHYSDEV_IRQ: Final = Struct("<II")  # irq, vector
PHYSDEV_MAP_PIRQ: Final = Struct("<Hxxiiiiii4xQ")  # domid, type, index, pirq, bus, devfn, entry_nr, table_base
PHYSDEV_UNMAP_PIRQ: Final = Struct("<Hxxi")  # domid, pirq
PHYSDEV_GET_FREE_PIRQ: Final = Struct("<iI")  # type, pirq
