/* What a frontend grants (public/grant_table.h), and how it waits. */
#pragma once
#include "kit.h"

#define NR_REFS 1024

void grants_start(void);
extern volatile struct grant_entry_v1 *grants;
u32 grant(u64 mfn, int flags, u16 domid);       /* a new reference */
void grant_again(u32 ref, u64 mfn, int flags, u16 domid);
int grant_end(u32 ref);                         /* 0 while it is in use */
#define GRANT_WRITABLE 1
#define GRANT_READ_ONLY 5
#define GRANT_IN_USE 0x18

void doze(u32 port);            /* until an event on that port, which is masked, or for a millisecond */
void join(char *into, const char *a, const char *b);
