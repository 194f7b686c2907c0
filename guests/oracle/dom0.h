/* What the oracle's dom0 knows of a domain that it runs. */
#pragma once
#include "kit.h"

struct file {
    const char *name;
    const u8 *data;
    u64 size;
};

struct xenstore_interface {
    u8 req[1024], rsp[1024];
    volatile u32 req_cons, req_prod, rsp_cons, rsp_prod;
};

struct domain {
    u16 domid;
    u64 nr_pages;
    struct xencons_interface *console;
    struct xenstore_interface *store;
    u32 console_port, store_port, exception_port;   /* ours */
};

int build(struct domain *d, const struct file *kernel, const struct file *initrd, const struct file *cmdline);
int domain_shutdown(struct domain *d);              /* SHUTDOWN_*, -1 while it runs */
void destroy(struct domain *d);
void answer_store(struct domain *d);
