"""The names of xl.cfg(5), by what they come to here."""

from __future__ import annotations

_DONE = """
    name kernel ramdisk root extra cmdline memory maxmem vcpus maxvcpus cpus cpus_soft cpu_weight cap disk vif p9
    type engine
    builder bootloader bootloader_args uuid on_poweroff on_reboot on_crash on_watchdog on_soft_reset
"""
_OF_HVM = """
    acpi acpi_firmware acpi_laptop_slate acpi_s3 acpi_s4 altp2m apic bios bios_path_override boot ballooning_mode
    bootloader_restrict device_model_args device_model_args_hvm device_model_args_pv device_model_override
    device_model_stubdomain_override device_model_user device_model_version dm_restrict e820_host event_actions firmware
    firmware_override gfx_passthru gic_version hap hdtype hpet hptr iommu keymap localtime max_event_channels
    max_grant_frames max_grant_version max_maptrack_frames mmio_hole ms_vm_genid nested_hvm nestedhvm nographic
    nomigrate nx opengl pae passthrough pci_msitranslate pci_permissive pci_power_mgmt pci_seize pvshim rdm
    rdm_mem_boundary reserved_hvm rtc_timeoffset sdl serial shadow_memory smbios_firmware soundhw spice
    spiceagent_mouse spicedisable_ticketing spicehost spicepasswd spiceport spicetls_port spiceusbredirection
    spicevdagent stdvga stubdomain_cmdline stubdomain_kernel stubdomain_memory stubdomain_ramdisk system_firmware
    timer_mode tsc_mode usb usbctrl usbdevice usbversion vendor_device vga videoram viridian vmport vnc vncconsole
    vncdisplay vnclisten vncpasswd vncunused vpt_align vuart xauthority xen_platform_pci
"""
_IDLE = """
    cpuid cpuid_policy nodes pool exclude_dom0 blkdev_start claim_mode driver_domain init_seclabel seclabel sched
    suppress_spurious_page_faults trusted_guest
"""

# What is carried out.
KEYS = frozenset(_DONE.split())
# What xl reads for HVM guests only, or for tools of the host's: it changes nothing of a PV guest.
FOR_OTHERS = frozenset(_OF_HVM.split())
# What means something for a PV guest of xl's, and nothing here yet.
NO_EFFECT = frozenset(_IDLE.split())

_PASSED_THROUGH = "no devices of the host's are passed through here"
# What is refused, for a guest that asks for it cannot do without.
REFUSED = {
    **dict.fromkeys(("pci", "dtdev", "usbdev", "iomem", "ioports", "irqs"), _PASSED_THROUGH),
    "pvcalls": "a guest has sockets of its own only",
    "device_tree": "that is for ARM",
}
# What is asked in vain: the guest boots without it.
WITHOUT = {
    "vfb": "no frame buffer is there yet, so the console is the only screen",
    "vkb": "no keyboard is there but the console's",
    "vsnd": "no sound card is there yet",
    "vdispl": "no display is there yet",
    "channel": "no channels are there yet",
    "vtpm": "no TPM is there yet",
}
