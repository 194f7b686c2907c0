/* GDT, LDT and segment registers: tables of our own, descriptors that may and may not be in them. */
#include "kit.h"

static void say(const char *name, long result) { printf("%s: %ld\n", name, result); }

static void load(const char *name, u16 selector)
{
    attempt("mov %0, %%fs", : : "r"((u32)selector));
    printf("load %s: %s\n", name, outcome());
    asm volatile("mov %0, %%fs" : : "r"(0));
}

void main(void)
{
    u64 *gdt = page_alloc(), *ldt = page_alloc(), *writable = page_alloc();
    u64 gdt_mfn = virt_to_mfn(gdt), frame;
    /* type, with base 0 and limit 4 GB */
    const u64 data3 = 0x00cff3000000ffff, data0 = 0x00cf93000000ffff, code3 = 0x00affb000000ffff,
        code0 = 0x00af9b000000ffff;

    frame = virt_to_mfn(writable);
    say("set_gdt: a writable frame", hypercall(set_gdt, &frame, 512));
    gdt[1] = data3;
    gdt[2] = data0;
    gdt[3] = code3;
    page_readonly(gdt);
    frame = gdt_mfn;
    say("set_gdt", hypercall(set_gdt, &frame, 512));
    printf("descriptors as they are now: %016lx %016lx %016lx\n", gdt[1], gdt[2], gdt[3]);
    say("make the GDT writable", page_writable(gdt));
    load("data of ring 3", 8 | 3);
    load("data of ring 0", 16 | 3);
    load("empty descriptor", 32 | 3);
    load("beyond the limit", 4096 | 3);
    load("flat data", FLAT_KERNEL_SS);
    say("set_gdt: too many entries", hypercall(set_gdt, &frame, 7169));
    say("set_gdt: frame 0", (frame = 0, hypercall(set_gdt, &frame, 512)));
    say("set_gdt: bad pointer", hypercall(set_gdt, 0x1000, 512));
    load("data of ring 3 after refusals", 8 | 3);
    frame = gdt_mfn;

    static const struct { const char *name; u64 value; } descriptors[] = {
        { "zero", 0 }, { "data, ring 3", 0x00cff3000000ffff }, { "data, ring 0", 0x00cf93000000ffff },
        { "data, ring 1", 0x00cfb3000000ffff },
        { "code 64, ring 3", 0x00affb000000ffff }, { "code 64, ring 0", 0x00af9b000000ffff },
        { "code 32, ring 3", 0x00cffb000000ffff },
        { "code conforming, ring 0", 0x00cf9f000000ffff }, { "data, not accessed", 0x00cff2000000ffff },
        { "data, not present", 0x00cf73000000ffff },
        { "expand down", 0x00cff7000000ffff }, { "LDT", 0x0000e2000000ffff }, { "TSS", 0x0000e9000000ffff },
        { "call gate", 0x0000ec000033ffff }, { "call gate to kernel", 0x0000ec00e0300000 },
        { "interrupt gate", 0x0000ee00e0330000 },
        { "trap gate", 0x0000ef00e0330000 }, { "task gate", 0x0000e50000000000 },
        { "system, not present", 0x0000690000000000 },
        { "code with L and D", 0x00effb000000ffff }, { "data, base in the hypervisor", 0xffcff30000ffffff },
    };
    for (unsigned i = 0; i < sizeof(descriptors) / sizeof(*descriptors); i++) {
        long result = hypercall(update_descriptor, gdt_mfn * PAGE + 64, descriptors[i].value);
        printf("update_descriptor %s: %ld, now %016lx\n", descriptors[i].name, result, gdt[8]);
    }
    say("update_descriptor: unaligned", hypercall(update_descriptor, gdt_mfn * PAGE + 3, data3));
    say("update_descriptor: in a data frame", hypercall(update_descriptor, virt_to_mfn(writable) * PAGE, data3));
    say("update_descriptor: in a page table", hypercall(update_descriptor, l4_mfn() * PAGE, data3));
    say("update_descriptor: frame 0", hypercall(update_descriptor, 0, data3));
    say("update_descriptor: no frame", hypercall(update_descriptor, 0x7fffffff000, data3));

    ldt[1] = data3;
    ldt[2] = data0;
    ldt[3] = code0;
    page_readonly(ldt);
    say("set ldt", mmuext(MMUEXT_SET_LDT, (u64)ldt, 16));
    load("LDT data of ring 3", 8 | 7);
    load("LDT data of ring 0", 16 | 7);
    load("LDT empty", 64 | 7);
    load("LDT beyond its limit", 128 | 7);
    say("make the LDT writable while used", page_writable(ldt));
    say("set ldt, none", mmuext(MMUEXT_SET_LDT, 0, 0));
    load("LDT data, no LDT", 8 | 7);
    say("make the LDT writable", page_writable(ldt));
    ldt[1] = 0x0000ee00e0330000;    /* an interrupt gate */
    page_readonly(ldt);
    say("set ldt with a gate in it", mmuext(MMUEXT_SET_LDT, (u64)ldt, 16));
    load("LDT data in a page with a gate", 16 | 7);
    mmuext(MMUEXT_SET_LDT, 0, 0);
    ldt = page_alloc();
    ldt[1] = data3;
    say("set ldt, writable page", mmuext(MMUEXT_SET_LDT, (u64)ldt, 16));
    load("LDT data in a writable page", 8 | 7);
    mmuext(MMUEXT_SET_LDT, 0, 0);

    /* bases */
    u64 base[2] = { 0xaaaa, 0xbbbb };
    hypercall(set_segment_base, SEGBASE_FS, base);
    u64 seen;
    asm volatile("movq %%fs:8, %0" : "=r"(seen));
    printf("through fs: %lx\n", seen);
    hypercall(set_segment_base, SEGBASE_GS_KERNEL, base);
    asm volatile("movq %%gs:0, %0" : "=r"(seen));
    printf("through gs: %lx\n", seen);
    u64 with_base = 0x00cff3000000ffff | (u64)(USER_DATA & 0xffffff) << 16;
    printf("update_descriptor with a base: %ld\n", hypercall(update_descriptor, gdt_mfn * PAGE + 64, with_base));
    user_start();
    *(u64 *)USER_DATA = 0x5eed;
    asm volatile("mov %0, %%fs" : : "r"(64 | 3));
    attempt("movq %%fs:0, %0", : "=r"(seen) : "0"(0ul));
    printf("through a descriptor's base: %s %lx\n", outcome(), seen);
    u32 selector;
    asm volatile("mov %%fs, %0" : "=r"(selector));
    printf("fs: %x\n", selector);
    say("set_segment_base fs changes the base, not the selector", hypercall(set_segment_base, SEGBASE_FS, base));
    asm volatile("mov %%fs, %0" : "=r"(selector));
    asm volatile("movq %%fs:8, %0" : "=r"(seen));
    printf("fs: %x, through it %lx\n", selector, seen);
    asm volatile("mov %0, %%fs" : : "r"(0));
    say("set_gdt: none", hypercall(set_gdt, 0, 0));
}
