/* A xenstore client on the guest's own ring (public/io/xs_wire.h). */
#pragma once
#include "kit.h"

#define STORE_MAX 1024                          /* of a value that is kept */

/* Each answers 0, or the error's name as a string ("ENOENT"); a value is cut off where there is no room for it. */
const char *store_read(const char *path, char *value, u64 room);
const char *store_write(const char *path, const char *value);
const char *store_write_number(const char *path, u64 value);
const char *store_remove(const char *path);
const char *store_list(const char *path, char *names, u64 room);      /* each ends with a 0, and the last with two */
