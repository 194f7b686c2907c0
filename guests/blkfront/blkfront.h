/* What the frontend that behaves and the one that does not have in common. */
#pragma once
#include "front.h"

extern struct front f;
extern u8 *page;            /* granted as `ref`, writable */
extern u32 ref;

void tell(const char *name, int yes);

/* A page's contents, another for each seed. */
void fill(u8 *at, u64 seed);
int holds(const u8 *at, u64 seed);

void victim(void);
void worker(int computes);
