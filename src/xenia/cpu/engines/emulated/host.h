/* Memory for translated code that outlives the engines that use it: see host.c. */
#ifndef XENIA_HOST_H
#define XENIA_HOST_H

#include <stddef.h>

/* Have `count` buffers of `length` bytes ready for engines yet to be made; how many there are then. */
int code_buffers_reserve(size_t length, int count);

#endif
