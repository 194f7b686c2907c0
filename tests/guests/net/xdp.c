/*
 * A program on a card, in the driver (XDP), until this process is killed:
 *
 *     xdp INTERFACE LENGTH    drops echoes of so many bytes, 200 at the most, and lets all else pass
 *
 * Prints the process that keeps it there; exit status 0 once it is.
 */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(size, to, from, at) { BPF_LDX | BPF_MEM | (size), (to), (from), (at), 0 }
#define UNLESS(reg, value, skip) { BPF_JMP | BPF_JNE | BPF_K, (reg), 0, (skip), (value) }
#define GIVE(value) { BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, (value) }, { BPF_JMP | BPF_EXIT, 0, 0, 0, 0 }

static long bpf(int command, union bpf_attr *attr)
{
    return syscall(SYS_bpf, command, attr, sizeof *attr);
}

int main(int argc, char **argv)
{
    static char log[65536];
    if (argc != 3)
        return 2;
    int length = atoi(argv[2]) + 28;
    struct bpf_insn code[] = {
        LOAD(BPF_W, 2, 1, 0),                                       /* data */
        LOAD(BPF_W, 3, 1, 4),                                       /* data_end */
        { BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0 },
        { BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, 34 },
        { BPF_JMP | BPF_JGT | BPF_X, 4, 3, 8, 0 },
        LOAD(BPF_H, 5, 2, 12),
        UNLESS(5, 0x0008, 6),                                       /* IPv4 */
        LOAD(BPF_B, 5, 2, 23),
        UNLESS(5, 1, 4),                                            /* ICMP */
        LOAD(BPF_B, 5, 2, 17),
        UNLESS(5, length, 2),                                       /* of the whole datagram */
        GIVE(XDP_DROP),
        GIVE(XDP_PASS),
    };
    union bpf_attr load, link;
    memset(&load, 0, sizeof load);
    load.prog_type = BPF_PROG_TYPE_XDP;
    load.insns = (uintptr_t)code;
    load.insn_cnt = sizeof code / sizeof code[0];
    load.license = (uintptr_t)"Dual MIT/GPL";
    load.log_buf = (uintptr_t)log;
    load.log_size = sizeof log;
    load.log_level = 1;
    long program = bpf(BPF_PROG_LOAD, &load);
    if (program < 0)
        return perror("load"), fputs(log, stderr), 1;
    memset(&link, 0, sizeof link);
    link.link_create.prog_fd = program;
    link.link_create.target_ifindex = if_nametoindex(argv[1]);
    link.link_create.attach_type = BPF_XDP;
    if (bpf(BPF_LINK_CREATE, &link) < 0)
        return perror("attach"), 1;
    pid_t keeper = fork();
    if (keeper == 0) {
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        pause();
    }
    return printf("%d\n", keeper) < 0;
}
